"""Tables for a terminal, side by side where it is wide: nothing is ever cut off."""

import io
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from brittle.core.text import filled

NARROW = 10  # characters that a column of names may be folded to
WIDTH = 160  # where the output is not a terminal
SIDE = 100  # characters of a terminal from which on tables may stand side by side
BETWEEN = 3  # characters between them


def laid(columns: Sequence[str], fixed: Sequence[str], caption: str | None = None) -> Any:
    """An empty rich table; its columns may be folded but for the ``fixed`` ones, of numbers. One with a caption has
    space around it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=caption is not None)
    table.caption, table.caption_justify = Text(caption) if caption is not None else None, "left"
    for name in columns:
        table.add_column(
            Text(name), overflow="fold", justify="right" if name in fixed else "left", no_wrap=name in fixed
        )
    return table


def add(table: Any, cells: Sequence[str]) -> None:
    """A row of plain text: brackets in a spec are not markup."""
    from rich.text import Text

    table.add_row(*map(Text, cells))


def printed(table: Any, width: int = 0) -> str:
    """A rich table as plain text, as wide as the terminal, or as ``width``, where its names can be folded to that; else
    wider."""
    longest = [
        max(len(cell) for cell in (column.header, *column.cells)) for column in table.columns if not column.no_wrap
    ]
    least = natural_width(table) - sum(max(0, size - NARROW) for size in longest)
    return _drawn(table, max(width or terminal_width(), least))


def beside(tables: Sequence[Any], titles: Sequence[str], width: int) -> str:
    """Rich tables below their titles and side by side, as many as fit with nothing folded; empty where no two do, or
    ``width`` is less than ``SIDE``."""
    from rich.columns import Columns
    from rich.text import Text

    sizes = [max(natural_width(table), *map(len, title.split())) for table, title in zip(tables, titles, strict=True)]
    if width < SIDE or len(tables) < 2 or sum(max(sizes[side::2]) for side in (0, 1)) + BETWEEN > width:
        return ""
    for table, title, size in zip(tables, titles, sizes):
        table.title, table.title_justify, table.min_width = Text(title), "left", size
    return _drawn(Columns(tables, padding=(1, BETWEEN)), width)


def _drawn(made: Any, width: int) -> str:
    """What rich makes of a table as plain text."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, no_color=True, highlight=False)
    console.print(made)
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined]


def aligned(tables: Sequence[Any]) -> None:
    """Have tables of the same columns, one below the other, as wide as each other where the terminal allows it."""
    rows = list(zip(*(table.columns for table in tables)))
    widest = [max(len(cell) for each in same for cell in (each.header, *each.cells)) for same in rows]
    between = natural_width(tables[0]) - sum(
        max(len(cell) for cell in (each.header, *each.cells)) for each in tables[0].columns
    )
    over = max(0, sum(widest) + between - terminal_width())
    for same, size in zip(rows, widest):
        for each in same:
            each.min_width = size if each.no_wrap else max(min(size, NARROW), size - over)


def folded(text: str, width: int = 0) -> str:
    """A line of prose in the width of the terminal, or in ``width``; no word is cut."""
    return filled(text, width or terminal_width())


def natural_width(table: Any) -> int:
    """How wide a table is with nothing folded."""
    from rich.console import Console

    return Console(file=io.StringIO(), width=100_000).measure(table).maximum


def terminal_width() -> int:
    """The width of the terminal; ``WIDTH`` where there is none."""
    return asked_width() or WIDTH


def asked_width() -> int:
    """The width of the terminal, or the one that COLUMNS says; 0 where the output is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() or "COLUMNS" in os.environ else 0
