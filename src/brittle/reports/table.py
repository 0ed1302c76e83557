"""The paper's table for a terminal: wide where that fits, else a line per number, those of each task in a table
beside those of another where two fit; nothing is ever cut off."""

from collections.abc import Sequence
from typing import Any

from brittle.core.records import Result
from brittle.core.text import plain
from brittle.reports.parts import layout, transfer, wording
from brittle.reports.parts.terminal import WIDTH, add, asked_width, beside, folded, laid, natural_width, printed


def table(results: Sequence[Result], /, *, width: int = 0) -> str:
    """Plain text with box lines, then why cells failed and what checks found.

    Args:
        width: in characters; 0 for that of the terminal, or for 160 where there is none.
    """
    columns, lines = layout.layout(results)
    caption, asked = wording.caption(results), width or asked_width()
    width = asked or WIDTH
    rich_table = _wide(columns, lines, caption)
    shown = (
        printed(rich_table, width) if natural_width(rich_table) <= width else _narrow(columns, lines, caption, asked)
    )
    below = [folded(line, width) for line in (*wording.failures(results), *wording.troubles(results))]
    return plain("\n".join([shown, *([""] if below else []), *below]))


def _wide(columns: Sequence[str], lines: Sequence[layout.Row], caption: str) -> Any:
    """A line for each row, a column for each attack."""
    gaps = transfer.transfer_ratios(lines)
    numbers = [*columns, *(["transfer ratio"] if gaps else [])]
    rich_table = laid(["task", "data", "encoder", "metric", *numbers], fixed=numbers, caption=caption)
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


def _narrow(columns: Sequence[str], lines: Sequence[layout.Row], caption: str, asked: int) -> str:
    """A line for each number below the name of its row: in a table for each task and data set where ``asked`` is the
    width of a terminal with room for two side by side, else in one for all."""
    gaps = transfer.transfer_ratios(lines) or [layout.GAP] * len(lines)
    one = laid(["task / data / encoder / attack", "metric", "value"], fixed=["value"], caption=caption)
    titles = [f"{line.task}: {line.metric}\n{line.dataset}" for line in lines]
    tables = {title: laid(["encoder / attack", "value"], fixed=["value"]) for title in titles}
    for line, gap, title in zip(lines, gaps, titles):
        numbers = [
            (f"  {name}", line.metric, wording.text(line.results[name])) for name in columns if name in line.results
        ]
        numbers += [("  transfer ratio", "share", gap)] if gap != layout.GAP else []
        one.add_section()
        tables[title].add_section()
        add(one, [" / ".join((line.task, line.dataset, line.encoder)), "", ""])
        add(tables[title], [line.encoder, ""])
        for name, metric, value in numbers:
            add(one, [name, metric, value])
            add(tables[title], [name, value])
    several = beside(list(tables.values()), list(tables), asked)
    return f"{several}\n\n{folded(caption, asked)}" if several else printed(one, asked or WIDTH)
