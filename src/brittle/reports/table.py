"""The paper's table for a terminal."""

import io
from collections.abc import Sequence
from typing import Any

from brittle import rows
from brittle.plan import Result


def table(results: Sequence[Result], /, *, width: int = 0) -> str:
    """Plain text with box lines; ``width`` in characters, 0 for the terminal's own."""
    from rich import box
    from rich.table import Table

    columns, lines = rows.layout(results)
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=rows.caption(results), caption_justify="left")
    for name in ("task", "data", "encoder", "metric"):
        made.add_column(name, overflow="fold")
    for name in columns:
        made.add_column(name, justify="right", no_wrap=True)
    gaps = rows.transfer_gaps(lines)
    if gaps:
        made.add_column("transfer gap", justify="right")
    before = None
    for i, line in enumerate(lines):
        if before not in (None, (line.task, line.dataset)):
            made.add_section()
        fresh = before != (line.task, line.dataset)
        before = (line.task, line.dataset)
        names = (line.task, line.dataset) if fresh else ("", "")
        made.add_row(*names, line.encoder, line.metric, *(rows.text(line.results.get(name)) for name in columns), *gaps[i : i + 1])
    return printed(made, width)


def printed(made: Any, width: int = 0) -> str:
    """A rich table as plain text, as wide as the terminal, or as it needs up to 160 characters."""
    from rich.console import Console

    needed = Console(file=io.StringIO(), width=400).measure(made).maximum
    console = Console(file=io.StringIO(), width=width or max(Console().width, min(needed, 160)), no_color=True, highlight=False)
    console.print(made)
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined]
