"""One picture that was attacked, as a PNG or as a page in one file."""

import base64
import hashlib
import io
from html import escape

from PIL import Image, ImageDraw

from brittle.core.pictures import Exhibit
from brittle.core.text import plain
from brittle.reports.parts.sheets import FAINT, GAP, INK, LINE, PAPER, TILE, opened, write

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem;color-scheme:light dark}"
    "h1{font-size:1.2rem}h2{font-size:1rem}div{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0}"
    "img{width:192px;image-rendering:pixelated}"
)


def png(exhibit: Exhibit) -> bytes:
    """A PNG."""
    rows = [(title, [(caption, _tile(drawn)) for caption, drawn in row]) for title, row in exhibit.rows if row]
    width = max(len(row) for _, row in rows) * (TILE + GAP) + GAP
    height = 2 * GAP + len(exhibit.heads) * LINE + len(rows) * (TILE + 2 * LINE + GAP)
    whole = Image.new("RGB", (width, height), PAPER)
    draw, top = ImageDraw.Draw(whole), GAP
    for place, text in enumerate(exhibit.heads):
        write(draw, (GAP, top), text, INK if place == 0 else FAINT, 14)
        top += LINE
    for title, row in rows:
        write(draw, (GAP, top + GAP), title, INK, 13)
        top += GAP + LINE
        for place, (caption, tile) in enumerate(row):
            left = GAP + place * (TILE + GAP)
            whole.paste(tile, (left, top))
            write(draw, (left, top + TILE + 3), caption, FAINT, 12)
        top += TILE + LINE
    stream = io.BytesIO()
    whole.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def html(exhibit: Exhibit) -> str:
    """A page that loads nothing; names in it are text."""
    hashed = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{hashed}'"
    title, *heads = map(escape, exhibit.heads)
    rows = [
        f"<h2>{escape(title)}</h2><div>{''.join(_figure(*each) for each in row)}</div>" for title, row in exhibit.rows
    ]
    return plain(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>{title}</h1>{''.join(f'<p>{head}</p>' for head in heads)}{''.join(rows)}</html>\n"
    )


def _figure(caption: str, drawn: str) -> str:
    said = escape(caption)
    return f'<figure><img alt="{said}" src="data:image/webp;base64,{drawn}"><figcaption>{said}</figcaption></figure>'


def _tile(drawn: str) -> Image.Image:
    """A square drawing; few pixels are shown as they are."""
    small = Image.open(io.BytesIO(base64.b64decode(drawn))).width < TILE // 2
    return opened(drawn, small)
