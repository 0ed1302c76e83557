"""Every figure of a page as files for a paper or slides (SVG, PDF, PNG), and their captions."""

from collections.abc import Mapping, Sequence
from typing import Any

from brittle.core.records import Result
from brittle.core.text import plain
from brittle.core.traits import ReportTraits
from brittle.reports.parts import charts, matrices, plots
from brittle.reports.parts.distributions import Spreads, nothing


def plot(results: Sequence[Result], spread: Spreads = nothing, /) -> str:
    """Markdown: the name of each figure's files, its title and its caption."""
    lines = [f"- {figure.key}: {figure.title}. {figure.caption}" for figure in charts.of(results, spread)]
    lines += [f"- {key}: transfer matrix of {made.attack}, {made.budget}" for key, made in _matrices(results).items()]
    failed = [f"- failed: {result.cell}: {result.failed}" for result in results if result.failed is not None]
    words = [" ".join(line.split()) for line in (*(lines or ["nothing to draw"]), *failed)]
    return plain("\n".join(words)) + "\n"


def _matrices(results: Sequence[Result]) -> dict[str, matrices.Matrix]:
    return {f"transfer-{place}": made for place, made in enumerate(matrices.matrices(results), 1)}


def figures(results: Sequence[Result], spread: Spreads = nothing, /) -> Mapping[str, Any]:
    """By the name of its files, each figure of matplotlib.

    Raises:
        UsageError: matplotlib is not installed.
    """
    drawn = {made.key: plots.figure(made) for made in charts.of(results, spread)}
    return drawn | {key: plots.matrix(made) for key, made in _matrices(results).items()}


TRAITS = ReportTraits(ending=".md", figures=figures, beside=("spreads",))
