"""Transfer matrices: images made for one encoder or task (rows) scored on every one (columns)."""

from collections.abc import Mapping, Sequence

from brittle.core.records import Result
from brittle.core.text import plain
from brittle.reports.parts import wording
from brittle.reports.parts.matrices import Matrix, Target, matrices


def transfer(results: Sequence[Result], /) -> str:
    """Markdown: for each data set, attack and budget a matrix, with the clean numbers above; only of results whose
    attack was ``stored:PATH``. On the diagonal images are scored on what they were made for."""
    made = matrices(results)
    lost = "\n".join(wording.failures(results))
    if not made:
        return f"no stored attacks here; brittle run ... --keep-adversarial, then brittle run ... -a stored:RUN\n{lost}"
    return plain("\n".join([*map(_markdown, made), lost]))


def _markdown(matrix: Matrix) -> str:
    head = ["made for", *(f"{encoder} {task} ({metric})" for (encoder, task), metric in matrix.metrics.items())]
    lines = [
        " | ".join(head),
        " | ".join(["---", *["---:"] * len(matrix.metrics)]),
        _line("clean", matrix.clean, matrix),
    ]
    lines += [_line(" ".join(source), numbers, matrix) for source, numbers in matrix.rows.items()]
    return "\n".join(
        [f"**{matrix.dataset}, {matrix.attack} {matrix.budget}**", "", *(f"| {line} |" for line in lines), ""]
    )


def _line(name: str, numbers: Mapping[Target, Result], matrix: Matrix) -> str:
    return " | ".join([name, *(wording.text(numbers.get(target)) for target in matrix.metrics)])
