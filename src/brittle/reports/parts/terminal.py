"""Tables for a terminal: nothing is ever cut off."""

import io
import os
import textwrap
from collections.abc import Sequence
from typing import Any

NARROW = 10  # characters that a column of names may be folded to
WIDTH = 160  # at least, where the output is not a terminal


def laid(columns: Sequence[str], caption: str, fixed: Sequence[str]) -> Any:
    """An empty rich table; its columns may be folded but for the ``fixed`` ones, of numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, caption=Text(caption), caption_justify="left"
    )
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
    from rich.console import Console

    longest = [
        max(len(cell) for cell in (column.header, *column.cells)) for column in table.columns if not column.no_wrap
    ]
    least = natural_width(table) - sum(max(0, size - NARROW) for size in longest)
    console = Console(file=io.StringIO(), width=max(width or terminal_width(), least), no_color=True, highlight=False)
    console.print(table)
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


def folded(text: str) -> str:
    """A line of prose in the width of the terminal; no word is cut."""
    return textwrap.fill(text, terminal_width(), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def natural_width(table: Any) -> int:
    """How wide a table is with nothing folded."""
    from rich.console import Console

    return Console(file=io.StringIO(), width=100_000).measure(table).maximum


def terminal_width() -> int:
    """The width of the terminal; at least ``WIDTH`` where there is none to ask."""
    from rich.console import Console

    console = Console()
    asked = console.is_terminal or "COLUMNS" in os.environ
    return console.width if asked else max(console.width, WIDTH)
