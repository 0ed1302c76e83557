"""Draws the README's two pictures of a run's page, its answer and its gallery: ``make pictures``."""

import base64
import io
from pathlib import Path
from typing import Annotated

import typer
from browser import Browser, browser
from PIL import Image

WIDTH, TALLEST = 1200, 1100  # pixels
COLOURS = 128


def main(
    page: Annotated[Path, typer.Argument(help="The page of a run.")],
    output_dir: Annotated[Path, typer.Option(help="Where to write answer.png and gallery.png.")] = Path("docs/images"),
) -> None:
    """Cut both out of the page as Chromium draws it, one light and one dark."""
    output_dir.mkdir(parents=True, exist_ok=True)
    with browser() as tab:
        tab.size(WIDTH)
        for name, dark, until in (("answer", False, "#numbers"), ("gallery", True, "#figures")):
            tab.dark(dark)
            tab.open(page.resolve())
            _cut(tab, f"#{name}", until).convert("RGB").quantize(COLOURS).save(
                output_dir / f"{name}.png", optimize=True
            )


def _cut(tab: Browser, start: str, until: str) -> Image.Image:
    """The page from where an element begins to where another does, or as much of it as is shown."""
    top, end = (
        tab.evaluate(f"document.querySelector('{each}').getBoundingClientRect().top + scrollY")
        for each in (start, until)
    )
    clip = {"x": 0, "y": top, "width": WIDTH, "height": min(end - top, TALLEST), "scale": 1}
    shot = tab.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
    return Image.open(io.BytesIO(base64.b64decode(shot["data"])))


if __name__ == "__main__":
    typer.run(main)
