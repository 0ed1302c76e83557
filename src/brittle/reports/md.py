"""The paper's table as Markdown."""

from collections.abc import Sequence

from brittle import rows
from brittle.plan import Result


def md(results: Sequence[Result], /) -> str:
    """A GitHub-flavoured table, its caption, the cells that failed, and what checks found in the others."""
    columns, lines = rows.layout(results)
    gaps = rows.transfer_gaps(lines)
    head = ["task", "data", "encoder", "metric", *columns, *(["transfer gap"] if gaps else [])]
    body = [[*line[:4], *(rows.text(line.results.get(name)) for name in columns), *gaps[i : i + 1]] for i, line in enumerate(lines)]
    table = [head, ["---"] * 4 + ["---:"] * (len(head) - 4), *body]
    below = [*rows.failures(results), *rows.remarks(results)]
    text = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in table]
    return "\n".join([*text, "", rows.caption(results), *([""] + below if below else [])]) + "\n"
