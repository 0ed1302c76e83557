"""``brittle report`` and ``brittle compare``: show what run folders hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from brittle.core import files, progress
from brittle.core.errors import UsageError, unknown
from brittle.core.text import show
from brittle.planning.words import DOWNSTREAM
from brittle.reports.parts import figures, layout, wording
from brittle.results import reporting, store

TINTS = {r"better (by|in)|more robust than": "green", r"worse (by|in)|less robust than": "red"}
"""Which words of a verdict have which colour."""


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders.")],
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="table, html, md, csv, json, latex, plot, card ...; several with commas.",
        ),
    ] = "table",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", help="Write it to this file; .svg, .png or .pdf for a report's figure."
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            metavar="DIR",
            help="Write report.FORMAT there, or all files that a report has, such as figures.",
        ),
    ] = None,
    per_image: Annotated[bool, typer.Option("--per-image", help="A row for each image of each cell (csv).")] = False,
    per_class: Annotated[bool, typer.Option("--per-class", help="A row for each class of each cell (csv).")] = False,
) -> None:
    """Show the results of run folders.

    \b
    Examples:
      brittle report runs/demo
      brittle report runs/demo --format md,csv,json --output-dir report
      brittle report runs/demo --format csv --per-image --output images.csv
      brittle report runs/demo --format plot --output-dir figures
      brittle report runs/history --format history --output history.svg
    """
    results = [result for folder in runs for result in store.read_run(folder)]
    if len({result.task.get(DOWNSTREAM, True) for result in results}) > 1:  # one column for one attack
        results = layout.as_downstream(results)
    names = [name.strip() for name in formats.split(",")]
    if output and (output_dir or len(names) > 1):
        raise UsageError("--output is for one report; give --output-dir for several")
    for name in names:
        _check(name, output, output_dir)
        text = reporting.report(name, results, runs, per_image, per_class)
        drawn = reporting.figures(name, results, runs) if output_dir or (output and _drawn(output)) else {}
        for path, content in _files(name, text, drawn, output, output_dir).items():
            files.write_whole(path, content)
            progress.say(f"written: {path}")
        if not (output or output_dir):
            show(text, wording.TINTS)


def _check(name: str, output: Path | None, folder: Path | None) -> None:
    """Refuse a file that a report cannot be, or a folder that cannot be one, before anything is done."""
    traits = reporting.traits_of(name)
    if folder:
        files.check_folder(files.expanded(folder))
    endings = [traits.ending, *figures.ENDINGS] if traits.figures else []
    if output and _drawn(output) and not endings:
        raise UsageError(f"--output {output}: {name} is text and has no figure; name a file with another ending")
    if output and endings and output.suffix.lower() not in endings:
        raise UsageError(f"--output {output}: {name} is written as {', '.join(endings)}; name a file that ends so")


def _drawn(path: Path) -> bool:
    return path.suffix.lower() in figures.ENDINGS


def _files(
    name: str, text: str, drawn: Mapping[str, Any], output: Path | None, folder: Path | None
) -> dict[Path, bytes]:
    """The content of each file of a report: all that there are of it in a folder, or the one that was named."""
    if folder:
        folder, ending = files.expanded(folder), reporting.traits_of(name).ending
        own = ending not in ("", f".{name}")
        made = {folder / (f"{name}{ending}" if own else f"report.{name}"): text.encode()}
        shown = ((key, figure, ending) for key, figure in drawn.items() for ending in figures.ENDINGS)
        return made | {folder / f"{key}{ending}": figures.rendered(figure, ending) for key, figure, ending in shown}
    if output is None:
        return {}
    if not _drawn(output):
        return {files.expanded(output): text.encode()}
    if len(drawn) != 1:
        raise UsageError(f"--output {output}: {name} has {len(drawn)} figures ({', '.join(drawn)}); give --output-dir")
    return {files.expanded(output): figures.rendered(figure, output.suffix.lower()) for figure in drawn.values()}


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="A run folder.")],
    second: Annotated[
        Path | None, typer.Argument(metavar="RUN_B", help="Another; without it, RUN_A's encoders are compared.")
    ] = None,
    baseline: Annotated[
        str, typer.Option("--baseline", metavar="ENC", help="The encoder that each other is compared with.")
    ] = "",
    form: Annotated[
        str, typer.Option("--format", metavar="NAME", help="table, md, csv, latex, json or html.")
    ] = "table",
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
