"""The paper's table as Markdown."""

from collections.abc import Sequence

from brittle.core.records import Result
from brittle.core.text import plain
from brittle.reports.parts import layout, transfer, wording


def md(results: Sequence[Result], /) -> str:
    """A GitHub-flavoured table, its caption, the cells that failed, and what checks found in the others."""
    columns, lines = layout.layout(results)
    gaps = transfer.transfer_ratios(lines)
    head = ["task", "data", "encoder", "metric", *columns, *(["transfer ratio"] if gaps else [])]
    body = [
        [*line[:4], *(wording.text(line.results.get(name)) for name in columns), *gaps[i : i + 1]]
        for i, line in enumerate(lines)
    ]
    table = [head, ["---"] * 4 + ["---:"] * (len(head) - 4), *body]
    below = [*wording.failures(results), *wording.remarks(results)]
    text = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in table]
    return plain("\n".join([*text, "", wording.caption(results), *([""] + below if below else [])]) + "\n")
