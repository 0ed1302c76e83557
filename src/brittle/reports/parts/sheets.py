"""The pictures of a number as one PNG: a row for each image, with what became of its prediction in words."""

import base64
import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from brittle.core.pictures import DRAWN, METRES, Picture
from brittle.core.records import Result
from brittle.core.text import shortened
from brittle.reports.parts import shots, wording

TILE, GAP, LINE = 192, 14, 22  # pixels
PAPER, INK, FAINT = "#ffffff", "#1b1e23", "#5b626b"
LONGEST = 110  # characters in a line
LACKING = str.maketrans({"→": "->", "×": "x", "…": "..."})  # of the font that Pillow brings
ORDER = ("clean", "attacked", "change", "before", "after", "truth", "tokens", "tokens_attacked")


def sheet(result: Result, pictures: Sequence[Picture]) -> bytes:
    """A PNG of at least one picture."""
    rows = [_row(picture) for picture in pictures]
    cell = result.cell
    heads = [f"{cell.task}: {wording.attack_text(cell)}", f"{cell.encoder} on {cell.dataset}"]
    width = max(row.width for row in rows)
    height = len(heads) * LINE + sum(GAP + row.height for row in rows)
    whole = Image.new("RGB", (width + 2 * GAP, height + 2 * GAP), PAPER)
    top = GAP
    for text, colour, size in zip(heads, (INK, FAINT), (17, 14)):
        write(ImageDraw.Draw(whole), (GAP, top), text, colour, size)
        top += LINE
    for row in rows:
        whole.paste(row, (GAP, top + GAP))
        top += GAP + row.height
    stream = io.BytesIO()
    whole.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _row(picture: Picture) -> Image.Image:
    shot, drawn = shots.shot(picture), picture.drawings
    tiles = [(DRAWN[name], opened(drawn[name], shot.coarse)) for name in ORDER if name in drawn]
    tall = max(tile.height for _, tile in tiles)
    keys = bool(shot.legend or shot.ends)
    made = Image.new("RGB", (len(tiles) * (TILE + GAP) - GAP, (3 + keys) * LINE + tall), PAPER)
    draw = ImageDraw.Draw(made)
    write(draw, (0, 0), shot.said, INK, 16)
    write(draw, (0, LINE), "; ".join(filter(None, [shot.role, shot.truth, shot.image])), FAINT, 13)
    for place, (title, tile) in enumerate(tiles):
        left = place * (TILE + GAP)
        made.paste(tile, (left, 2 * LINE))
        amplified = f" ×{picture.factor}" if title == DRAWN["change"] else ""
        write(draw, (left, 2 * LINE + tall + 3), title.removesuffix(", amplified") + amplified, FAINT, 12)
    bottom = 3 * LINE + tall
    left = 0
    for name, colour in shot.legend:
        draw.rectangle((left, bottom + 4, left + 12, bottom + 16), fill=colour)
        left = write(draw, (left + 18, bottom + 2), shortened(name, 24), INK, 13) + GAP
    if shot.ends:
        left = write(draw, (0, bottom + 2), shot.ends[0], INK, 13) + GAP
        scale = Image.new("RGB", (len(METRES), 1))
        scale.putdata([tuple(bytes.fromhex(each)) for each in METRES])
        made.paste(scale.resize((2 * TILE, 12), Image.Resampling.BILINEAR), (left, bottom + 4))
        write(draw, (left + 2 * TILE + GAP, bottom + 2), shot.ends[-1], INK, 13)
    return made


def opened(text: str, coarse: bool) -> Image.Image:
    """A drawing, ``TILE`` pixels wide."""
    picture = Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")
    size = TILE, max(round(TILE * picture.height / picture.width), 1)
    return picture.resize(size, Image.Resampling.NEAREST if coarse else Image.Resampling.LANCZOS)


def write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, colour: str, size: int) -> int:
    """Write a line; returns where it ends."""
    font, text = ImageFont.load_default(size), shortened(text, LONGEST).translate(LACKING)
    draw.text(at, text, fill=colour, font=font)
    return at[0] + round(draw.textlength(text, font=font))
