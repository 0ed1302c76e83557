"""The paper's tables and ours side by side: each number, the difference, whether our interval holds the paper's, and
what differs in how they were measured."""

import io
from collections.abc import Sequence

from brittle.core.records import Result
from brittle.core.text import plain
from brittle.planning import protocols
from brittle.reports.parts import layout, published, wording

ALWAYS = (
    "heads are fitted on whole images or their windows; the paper's code draws crops, and flips them, while "
    "training; `views=[flips]` and `[crops]` add some of either",
    "heads of masks and labels start from zero, those of depth as PyTorch has it",
)
STANDARD = (
    "images are resized with a bicubic filter, not a bilinear one",
    "the depth head reads the last layer after its final norm, not before",
    "VOC's miou is over 21 classes, not its 20 of the foreground; Cityscapes is seen at its own resolution",
    "as many images are classified as there are, not 1,000",
    "heads are fitted by this package's recipe, and of several learning rates the best is kept",
)
"""What the standard protocol does otherwise than the paper's."""


def paper(results: Sequence[Result], /) -> str:
    """Markdown: a row for each of the paper's 28 (arXiv 2407.12588), a dash where we have measured nothing; below it
    what was done otherwise than in the paper's code."""
    out = io.StringIO()
    out.write(
        "| task | data | encoder | metric |"
        + "".join(f" {name}: paper | ours | difference | holds |" for name in published.COLUMNS)
        + "\n"
    )
    out.write("|" + " --- |" * 4 + " ---: | ---: | ---: | --- |" * 3 + "\n")
    for row in published.rows(results):
        cells = [part for pair in row.pairs for part in (f"{pair.published:.2f}", *_ours(pair))]
        out.write(f"| {row.task} | {row.dataset} | {row.encoder} | {row.metric} | {' | '.join(cells)} |\n")
    out.write(f"\n{wording.caption(layout.as_downstream(results))}; paper: {published.source()}\n")
    out.writelines(f"{line}\n" for line in (*_differences(results), *wording.failures(results)))
    return plain(out.getvalue())


def _differences(results: Sequence[Result]) -> list[str]:
    """A Markdown item for each thing that one of the protocols does otherwise than the paper's code."""
    lines: list[str] = []
    for text in dict.fromkeys(result.cell.protocol for result in results):
        own = () if protocols.is_paper(text) else STANDARD
        missing = [f"not done: {name}: {words}" for name, words in quirks_left_out(text).items()]
        lines += ["", f"Otherwise than in the paper's code ({text}):", ""]
        lines += [f"- {words}" for words in (*ALWAYS, *own, *missing)]
    return lines


def quirks_left_out(text: str) -> dict[str, str]:
    """The quirks of the paper's code that a protocol does not repeat, and what they are."""
    kept = protocols.quirks_of(text)
    return {name: words for name, words in protocols.QUIRKS.items() if name not in kept}


def _ours(pair: published.Pair) -> tuple[str, str, str]:
    if pair.difference is None:
        return wording.text(pair.ours), layout.GAP, layout.GAP
    return wording.text(pair.ours), f"{pair.difference:+.3f}", "yes" if pair.holds else "no"
