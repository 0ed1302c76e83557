"""The paper's tables and ours side by side: each number, the difference, whether our interval holds the paper's, and
what differs in how they were measured."""

import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files as resources
from typing import Any

from brittle.core.records import Result
from brittle.core.text import plain
from brittle.planning import protocols
from brittle.reports.parts import layout, wording

ENCODERS = {  # what a spec must contain to be one of the paper's encoders
    ("vit_small_patch14_dinov2.lvd142m", "standard"): (
        "vit_small_patch14_dinov2.lvd142m",
        "dinov2_vits14_pretrain",
        "dinov2-small",
    ),
    ("vit_base_patch14_dinov2.lvd142m", "standard"): (
        "vit_base_patch14_dinov2.lvd142m",
        "dinov2_vitb14_pretrain",
        "dinov2-base",
    ),
    ("vit_base_patch16_224.dino", "standard"): ("vit_base_patch16_224.dino", "dino_vitbase16_pretrain", "dino-vitb16"),
    ("vit_base_patch16_224.dino", "deacl"): ("dino_vitbase16_deacl",),
}
COLUMNS = ("clean", "embed", "downstream")
ROUNDING = 0.005  # the paper prints two digits
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
    reference = json.loads((resources("brittle") / "assets" / "paper_results.json").read_text(encoding="utf8"))
    results = layout.as_downstream(results)
    _, lines = layout.layout(results)
    out = io.StringIO()
    out.write(
        "| task | data | encoder | metric |"
        + "".join(f" {name}: paper | ours | difference | holds |" for name in COLUMNS)
        + "\n"
    )
    out.write("|" + " --- |" * 4 + " ---: | ---: | ---: | --- |" * 3 + "\n")
    for row in reference["rows"]:
        training = "" if row["training"] == "standard" else f" ({row['training']})"
        mine = next((line for line in lines if _same(line, row)), None)
        cells = [part for name in COLUMNS for part in _compared(row[name], mine.results.get(name) if mine else None)]
        out.write(
            f"| {row['task']} | {row['dataset']} | {row['encoder']}{training} | {row['metric']} | "
            f"{' | '.join(cells)} |\n"
        )
    out.write(f"\n{wording.caption(results)}; paper: {reference['source']}\n")
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


def _same(line: layout.Row, row: Mapping[str, Any]) -> bool:
    names = ENCODERS[row["encoder"], row["training"]]
    return (
        line.task == row["task"]
        and line.dataset.startswith(row["dataset"])
        and any(name in line.encoder for name in names)
    )


def _compared(published: float, result: Result | None) -> tuple[str, str, str, str]:
    if result is None or result.failed is not None:
        return f"{published:.2f}", wording.text(result), layout.GAP, layout.GAP
    name = result.task["headline"]
    low, high = result.intervals.get(name, (result.metrics[name],) * 2)
    holds = "yes" if low - ROUNDING <= published <= high + ROUNDING else "no"
    return f"{published:.2f}", wording.text(result), f"{result.metrics[name] - published:+.3f}", holds
