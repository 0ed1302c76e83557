"""``brittle report`` and ``brittle compare``: show what run folders hold."""

from pathlib import Path
from typing import Annotated

import typer

from brittle.core import components, progress
from brittle.core.text import show
from brittle.results import store


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    formats: Annotated[str, typer.Option("--format", help="table, md, csv or json; several with commas.")] = "table",
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Write report.FORMAT there instead of printing.")
    ] = None,
) -> None:
    """Show the results of run folders."""
    results = [result for folder in runs for result in store.read_run(folder)]
    for name in formats.split(","):
        text = components.component("reports", name.strip()).function(results)
        if output_dir:
            store.Store(output_dir).note(f"report.{name.strip()}", text)
            progress.say(f"written: {output_dir}/report.{name.strip()}")
        else:
            show(text)


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="A run folder.")],
    second: Annotated[
        Path | None, typer.Argument(metavar="[RUN_B]", help="Another; without it, RUN_A's encoders are compared.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare two runs, or the encoders of one, image by image: differences with intervals and tests."""
    from brittle.reports.parts import comparison
    from brittle.results import compare as comparing

    comparisons, notes = comparing.compare(first, second)
    for note in notes:
        progress.say(note)
    show(comparison.as_json(comparisons) if as_json else comparison.table(comparisons))
