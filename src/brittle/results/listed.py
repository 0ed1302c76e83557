"""Results as Python and notebooks have them: a list that shows itself as the paper's table and becomes a data frame."""

import io
from collections.abc import Iterable, Mapping
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

from brittle.core import components
from brittle.core.errors import MissingError
from brittle.core.records import Result
from brittle.reports.parts import layout, wording
from brittle.results import reporting

LONG, DRAWN = "csv", "plot"  # the reports that have a row for each result, and figures


class Results(list[Result]):
    """Results in the order in which they were asked for, and the run folder that they lie in."""

    def __init__(self, results: Iterable[Result] = (), folder: Path | None = None) -> None:
        super().__init__(results)
        self.folder = folder

    def __repr__(self) -> str:
        failed = sum(result.failed is not None for result in self)
        encoders = ", ".join(dict.fromkeys(result.cell.encoder for result in self))
        return f"<{len(self)} results of {encoders or 'no encoder'}{f', {failed} failed' if failed else ''}>"

    def _repr_html_(self) -> str:
        """The paper's table; names in it are text."""
        columns, rows = layout.layout(self)
        head = ["task", "data", "encoder", "metric", *columns]
        body = [[*row[:4], *(wording.text(row.results.get(name)) for name in columns)] for row in rows]
        lines = [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in body]
        below = "".join(f"<p>{escape(line)}</p>" for line in [wording.caption(self), *wording.failures(self)] if line)
        return f"<table><tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr>{''.join(lines)}</table>{below}"

    def to_frame(self) -> Any:
        """A pandas ``DataFrame`` of a row for each result, with the columns of the csv report.

        Raises:
            MissingError: pandas is not installed.
        """
        try:
            pandas: Any = import_module("pandas")
        except ImportError:
            raise MissingError("to_frame needs pandas, which is not installed; pip install pandas") from None
        text = components.component("reports", LONG).function(self)
        return pandas.read_csv(io.StringIO(text), dtype={"id": str})  # hexadecimal, which may look like a number

    def plot(self) -> Mapping[str, Any]:
        """The figures of the page of these results, those that there are data for, each a ``matplotlib`` ``Figure`` by
        its name: ``results.plot()["answer"]``, and ``.savefig("answer.pdf")`` of it.

        Raises:
            UsageError: matplotlib is not installed.
        """
        return reporting.figures(DRAWN, self, [self.folder] if self.folder else [])
