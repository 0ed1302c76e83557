"""Rows as CSV that no name in them can break, for a spreadsheet or a data frame."""

import csv
import io
from collections.abc import Sequence

from brittle.core.records import Cell
from brittle.core.spec import Spec, parse, text_of
from brittle.core.text import plain
from brittle.planning.warm_start import smaller, unwrapped

ATTACK = ("attack", "settings", "warm", "eps", "norm")
"""An attack in columns: its name and argument alone, so that a group of it is one curve over eps; its settings; the
smaller budgets that it continues from; its own."""


def sheet(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """CSV of rows below ``head``; nothing where a value is None. Numbers have all their digits."""
    stream = io.StringIO()
    out = csv.writer(stream)  # lines end in \r\n (RFC 4180), so that text with either of them is quoted
    out.writerows([head, *([_harmless(value) for value in row] for row in rows)])
    return stream.getvalue()


def attack_columns(cell: Cell) -> list[object]:
    """What a cell was attacked with, under ``ATTACK``; None for the clean row."""
    if cell.attack is None:
        return [None] * len(ATTACK)
    spec = parse(unwrapped(cell.attack))
    settings = ", ".join(f"{key}={text_of(value)}" for key, value in spec.settings.items())
    return [str(Spec(spec.name, spec.argument)), settings, smaller(cell), cell.eps, cell.norm]


def _harmless(value: object) -> object:
    """Text that a spreadsheet would run as a formula gets a quote in front, and what a terminal would act on is
    written out."""
    value = plain(value) if isinstance(value, str) else value
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
