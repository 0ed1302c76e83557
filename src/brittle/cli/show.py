"""``brittle show``: what attacks did to images, as pictures."""

from pathlib import Path
from typing import Annotated

import typer

from brittle.core import files, progress
from brittle.core.errors import MissingError, UsageError
from brittle.core.text import show
from brittle.results import store

ENDINGS = (".png", ".html")


def show_(
    what: Annotated[Path, typer.Argument(metavar="RUN|PICTURE", help="A run folder, or an image file.")],
    encoder: Annotated[
        str | None, typer.Option("-e", "--encoder", metavar="ENC", help="Encoder that sees the picture.")
    ] = None,
    attack: Annotated[
        str | None,
        typer.Option(
            "-a", "--attack", metavar="ATTACK", help="One that needs no label and no head.", show_default="embed"
        ),
    ] = None,
    eps: Annotated[
        str | None, typer.Option("--eps", metavar="EPS", help="Budget in linf, in pixel units.", show_default="8/255")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="A .png or .html.", show_default="PICTURE-ENC-ATTACK.png"),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", metavar="DIR", help="Where to write a run's.", show_default="RUN/report/gallery"),
    ] = None,
) -> None:
    """Draw what attacks did in a run, or do to a picture.

    Of each attacked number of a run the most damaged, a typical and the least damaged image are drawn, as they are on
    its page. A picture is attacked: how far an encoder's features move, and which scenes are nearest before and after.

    \b
    Examples:
      brittle show runs/demo
      brittle show runs/demo --output-dir pictures
      brittle show photo.jpg -e embedded:dino
      brittle show photo.jpg -e embedded:deacl -a "embed(tokens=grid)" \\
        --eps 4/255 --output photo.html
    """
    of_picture, of_run = (encoder, attack, eps, output), (output_dir,)
    if encoder is None and (what.is_file() or any(each is not None for each in of_picture)):
        raise UsageError(f"no -e given; name the encoder that sees {what}")
    if encoder is None:
        _run(what, output_dir)
    elif any(each is not None for each in of_run):
        raise UsageError("--output-dir is for a run's pictures; give --output FILE")
    else:
        _picture(what, encoder, attack or "embed", eps, output)


def _run(run: Path, output_dir: Path | None) -> None:
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


def _picture(picture: Path, encoder: str, attack: str, eps: str | None, output: Path | None) -> None:
    from brittle.reports.parts import exhibits

    path = files.expanded(output or Path(f"{files.slug(f'{picture.stem} {encoder} {attack}')}.png"))
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"--output {path}: must end in {' or '.join(ENDINGS)}")
    files.check_folder(path.parent)
    from brittle.api.showing import attacked

    shown = attacked(files.expanded(picture), encoder, attack, eps)
    made = exhibits.png(shown) if path.suffix.lower() == ".png" else exhibits.html(shown).encode()
    files.write_whole(path, made)
    progress.say(f"written: {path}")
    show("\n".join(shown.heads[2:]))
