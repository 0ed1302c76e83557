"""The sheets of ``brittle show``: what is on them stands where it should."""

import io
from collections.abc import Callable
from dataclasses import replace

from made_results import webp
from PIL import Image

from brittle.core.pictures import ROLES, Picture
from brittle.core.records import Result
from brittle.reports.parts import sheets


def test_a_sheet_has_the_drawings_side_by_side(result_of: Callable[..., Result]) -> None:
    colours = {"clean": "#0072b2", "attacked": "#d55e00", "change": "#009e73", "tokens": "#cc79a7"}
    drawings = {name: webp(colour) for name, colour in colours.items()}
    hostile = "\u202e{{7*7}}\x1b[31m" + "x" * 10_000
    some = [
        Picture(role, hostile, drawings, 8, 15, (0.0, 1.0), "mask", legend=((hostile, "#56b4e9"),)) for role in ROLES
    ]
    result = result_of(attack="pgd")
    result = replace(result, cell=replace(result.cell, encoder=hostile))
    made = Image.open(io.BytesIO(sheets.sheet(result, some)))
    assert made.size[0] == 4 * sheets.TILE + 5 * sheets.GAP
    middles = [
        made.getpixel((sheets.GAP + sheets.TILE // 2 + place * (sheets.TILE + sheets.GAP), 200)) for place in range(4)
    ]
    assert middles == [tuple(bytes.fromhex(colour[1:])) for colour in colours.values()]
    assert (0x56, 0xB4, 0xE9) in {colour for _, colour in made.getcolors(1 << 20)}  # type: ignore[union-attr]
    ends = [Picture("worst", "a", drawings, 8, 15, (0.1, 0.2), "metres", ends=(0.5, 7.0))]
    bright = {colour for _, colour in Image.open(io.BytesIO(sheets.sheet(result, ends))).getcolors(1 << 20)}  # type: ignore[union-attr]
    assert {(0x44, 0x01, 0x54), (0xFD, 0xE7, 0x25)} <= bright
