"""The paper's table for a terminal: wide where that fits, else a line per number; nothing is ever cut off."""

import textwrap
from collections.abc import Sequence
from typing import Any

from brittle.core.records import Result
from brittle.core.text import plain
from brittle.reports.parts import layout, transfer, wording
from brittle.reports.parts.terminal import add, laid, natural_width, printed, terminal_width


def table(results: Sequence[Result], /, *, width: int = 0) -> str:
    """Plain text with box lines, then why cells failed and what checks found.

    Args:
        width: in characters; 0 for the terminal's own.
    """
    columns, lines = layout.layout(results)
    width = width or terminal_width()
    rich_table = _wide(columns, lines, wording.caption(results))
    if natural_width(rich_table) > width:
        rich_table = _long(columns, lines, wording.caption(results))
    below = [
        textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for line in (*wording.failures(results), *wording.troubles(results))
    ]
    return plain("\n".join([printed(rich_table, width), *([""] if below else []), *below]))


def _wide(columns: Sequence[str], lines: Sequence[layout.Row], caption: str) -> Any:
    """A line for each row, a column for each attack."""
    gaps = transfer.transfer_ratios(lines)
    numbers = [*columns, *(["transfer ratio"] if gaps else [])]
    rich_table = laid(["task", "data", "encoder", "metric", *numbers], caption, fixed=numbers)
    before = None
    for i, line in enumerate(lines):
        fresh = before != (line.task, line.dataset)
        if fresh and before:
            rich_table.add_section()
        before = (line.task, line.dataset)
        names = before if fresh else ("", "")
        add(
            rich_table,
            [
                *names,
                line.encoder,
                line.metric,
                *(wording.text(line.results.get(name)) for name in columns),
                *gaps[i : i + 1],
            ],
        )
    return rich_table


def _long(columns: Sequence[str], lines: Sequence[layout.Row], caption: str) -> Any:
    """A line for each number, below a line that names its row."""
    rich_table = laid(["task / data / encoder / attack", "metric", "value"], caption, fixed=["value"])
    for line, gap in zip(lines, transfer.transfer_ratios(lines) or [layout.GAP] * len(lines)):
        rich_table.add_section()
        add(rich_table, [" / ".join((line.task, line.dataset, line.encoder)), "", ""])
        numbers = [
            (f"  {name}", line.metric, wording.text(line.results[name])) for name in columns if name in line.results
        ]
        for number in [*numbers, *([("  transfer ratio", "share", gap)] if gap != layout.GAP else [])]:
            add(rich_table, number)
    return rich_table
