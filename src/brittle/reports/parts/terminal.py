"""Tables for a terminal: nothing is ever cut off."""

import io
import os
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
