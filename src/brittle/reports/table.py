"""The paper's table for a terminal: wide where that fits, else a line a number; nothing is ever cut."""

import io
import os
import textwrap
from collections.abc import Sequence
from typing import Any

from brittle import rows
from brittle.plan import Result

NARROW = 10  # characters that a column of names may be folded to
WIDTH = 160  # at most, where there is no terminal to ask


def table(results: Sequence[Result], /, *, width: int = 0) -> str:
    """Plain text with box lines, then why cells failed and what checks found; ``width`` in characters, 0 for the terminal's own."""
    columns, lines = rows.layout(results)
    width = width or _terminal()
    made = _wide(columns, lines, rows.caption(results))
    if _natural(made) > width:
        made = _long(columns, lines, rows.caption(results))
    below = [
        textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for line in (*rows.failures(results), *rows.troubles(results))
    ]
    return "\n".join([printed(made, width), *([""] if below else []), *below])


def _wide(columns: Sequence[str], lines: Sequence[rows.Row], caption: str) -> Any:
    """A line for each row, a column for each attack."""
    gaps = rows.transfer_gaps(lines)
    numbers = [*columns, *(["transfer gap"] if gaps else [])]
    made = laid(["task", "data", "encoder", "metric", *numbers], caption, fixed=numbers)
    before = None
    for i, line in enumerate(lines):
        fresh = before != (line.task, line.dataset)
        if fresh and before:
            made.add_section()
        before = (line.task, line.dataset)
        names = before if fresh else ("", "")
        add(made, [*names, line.encoder, line.metric, *(rows.text(line.results.get(name)) for name in columns), *gaps[i : i + 1]])
    return made


def _long(columns: Sequence[str], lines: Sequence[rows.Row], caption: str) -> Any:
    """A line for each number, below a line that says what row it is of."""
    made = laid(["task / data / encoder / attack", "metric", "value"], caption, fixed=["value"])
    for line, gap in zip(lines, rows.transfer_gaps(lines) or [rows.GAP] * len(lines)):
        made.add_section()
        add(made, [" / ".join((line.task, line.dataset, line.encoder)), "", ""])
        found = [(f"  {name}", line.metric, rows.text(line.results[name])) for name in columns if name in line.results]
        for number in [*found, *([("  transfer gap", "share", gap)] if gap != rows.GAP else [])]:
            add(made, number)
    return made


def laid(columns: Sequence[str], caption: str, fixed: Sequence[str]) -> Any:
    """An empty rich table; its columns may be folded but for the ``fixed`` ones, of numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, caption=Text(caption), caption_justify="left")
    for name in columns:
        made.add_column(Text(name), overflow="fold", justify="right" if name in fixed else "left", no_wrap=name in fixed)
    return made


def add(made: Any, cells: Sequence[str]) -> None:
    """A row of plain text: brackets in a spec are no markup."""
    from rich.text import Text

    made.add_row(*map(Text, cells))


def printed(made: Any, width: int = 0) -> str:
    """A rich table as plain text, as wide as the terminal, or as ``width``, where its names can be folded to that; else wider."""
    from rich.console import Console

    longest = [max(len(cell) for cell in (column.header, *column.cells)) for column in made.columns if not column.no_wrap]
    least = _natural(made) - sum(max(0, size - NARROW) for size in longest)
    console = Console(file=io.StringIO(), width=max(width or _terminal(), least), no_color=True, highlight=False)
    console.print(made)
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined]


def _natural(made: Any) -> int:
    """How wide a table is with nothing folded."""
    from rich.console import Console

    return Console(file=io.StringIO(), width=100_000).measure(made).maximum


def _terminal() -> int:
    from rich.console import Console

    console = Console()
    asked = console.is_terminal or "COLUMNS" in os.environ
    return console.width if asked else max(console.width, WIDTH)
