"""``brittle show``: what attacks did to images, as pictures."""

from pathlib import Path
from typing import Annotated

import typer

from brittle.core import files, progress
from brittle.core.errors import MissingError
from brittle.results import store


def show_(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", metavar="DIR", help="Where to write.", show_default="RUN/report/gallery"),
    ] = None,
) -> None:
    """Draw what attacks did to images, a PNG for each number.

    Of each attacked number the most damaged, a typical and the least damaged image, as they are on the page.

    \b
    Examples:
      brittle show runs/demo
      brittle show runs/demo --output-dir pictures
    """
    from brittle.reports.parts import sheets

    folder = files.expanded(output_dir or run / "report" / "gallery")
    files.check_folder(folder)
    pictures = store.pictures([run])
    drawn = [(result, found) for result in store.read_run(run) if (found := pictures(result.id))]
    if not drawn:
        raise MissingError(f"no pictures in {run}; measure its attacks again, into another folder")
    for result, found in drawn:
        path = (
            folder / f"{files.slug(f'{result.cell.task} {result.cell.attack} {result.cell.encoder} {result.id}')}.png"
        )
        files.write_whole(path, sheets.sheet(result, found))
        progress.say(f"written: {path}")
