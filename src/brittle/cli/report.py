"""``brittle report`` and ``brittle compare``: show what run folders hold."""

from pathlib import Path
from typing import Annotated

import typer

from brittle.core import components, files, progress
from brittle.core.errors import UsageError, unknown
from brittle.core.text import show
from brittle.core.traits import ReportTraits
from brittle.planning.plan import DOWNSTREAM
from brittle.reports.parts import figures, layout, wording
from brittle.results import reporting, store

TINTS = {r"better (by|in)|more robust than": "green", r"worse (by|in)|less robust than": "red"}
"""Which words of a verdict have which colour."""


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    formats: Annotated[
        str, typer.Option("--format", help="table, html, md, csv, json, history ...; several with commas.")
    ] = "table",
    output: Annotated[
        Path | None, typer.Option("--output", help="Write it to this file; .svg, .png or .pdf for a report's figure.")
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Write report.FORMAT there, or all files that a report has.")
    ] = None,
) -> None:
    """Show the results of run folders.

    \b
    Examples:
      brittle report runs/demo
      brittle report runs/demo --format md,csv,json --output-dir report
      brittle report runs/history --format history --output history.svg
    """
    results = [result for folder in runs for result in store.read_run(folder)]
    if len({result.task.get(DOWNSTREAM, True) for result in results}) > 1:  # one column for one attack
        results = layout.as_downstream(results)
    names = [name.strip() for name in formats.split(",")]
    if output and (output_dir or len(names) > 1):
        raise UsageError("--output is for one report; give --output-dir for several")
    for name in names:
        made = components.component("reports", name)
        assert isinstance(made.traits, ReportTraits)
        paths = _paths(name, made.traits, output, output_dir)
        text = reporting.report(name, results, runs)
        figure = made.traits.figure(results) if made.traits.figure and any(map(_drawn, paths)) else None
        for path in paths:
            files.write_whole(path, figures.rendered(figure, path.suffix.lower()) if _drawn(path) else text.encode())
            progress.say(f"written: {path}")
        if not paths:
            show(text, wording.TINTS)


def _drawn(path: Path) -> bool:
    return path.suffix.lower() in figures.ENDINGS


def _paths(name: str, traits: ReportTraits, output: Path | None, folder: Path | None) -> list[Path]:
    """The files that a report is to be written to: the one that was named, or all that there are of it in a folder.

    Raises:
        UsageError: a file that it cannot be, or a folder that cannot be one.
    """
    endings = [traits.ending, *figures.ENDINGS] if traits.figure else []
    if folder:
        folder = files.expanded(folder)
        files.check_folder(folder)
        return [folder / f"{name}{ending}" for ending in endings] or [folder / f"report.{name}"]
    if output and _drawn(output) and not endings:
        raise UsageError(f"--output {output}: {name} is text and has no figure; name a file with another ending")
    if output and endings and output.suffix.lower() not in endings:
        raise UsageError(f"--output {output}: {name} is written as {', '.join(endings)}; name a file that ends so")
    return [files.expanded(output)] if output else []


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="A run folder.")],
    second: Annotated[
        Path | None, typer.Argument(metavar="[RUN_B]", help="Another; without it, RUN_A's encoders are compared.")
    ] = None,
    baseline: Annotated[
        str, typer.Option("--baseline", metavar="ENC", help="The encoder that each other is compared with.")
    ] = "",
    form: Annotated[str, typer.Option("--format", metavar="NAME", help="table, md, csv, latex or json.")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Say which encoder is better, by paired tests. Of two runs, or of the encoders of one, image by image: by how
    much, with its interval, and whether chance explains it.

    \b
    Examples:
      brittle compare runs/demo
      brittle compare runs/demo --baseline embedded:dino --format md
      brittle compare runs/before runs/after
    """
    from brittle.reports.parts import comparison_formats
    from brittle.results import compare as comparing

    form = "json" if as_json else form
    if form not in comparison_formats.FORMATS:
        raise unknown("format", form, comparison_formats.FORMATS)
    comparisons, notes = comparing.compare(first, second, baseline)
    for note in notes:
        progress.say(note)
    show(comparison_formats.FORMATS[form](comparisons), TINTS)
