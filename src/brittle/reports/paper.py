"""The paper's tables and ours side by side: each number, the difference, and whether our interval holds the paper's."""

import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files as resources
from typing import Any

from brittle.core.records import Result
from brittle.core.text import plain
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


def paper(results: Sequence[Result], /) -> str:
    """Markdown: a row for each of the paper's 28 (arXiv 2407.12588), a dash where we have measured nothing."""
    reference = json.loads((resources("brittle") / "assets" / "paper_results.json").read_text(encoding="utf8"))
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
    out.writelines(f"{line}\n" for line in wording.failures(results))
    return plain(out.getvalue())


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
    holds = "yes" if low <= published <= high else "no"
    return f"{published:.2f}", wording.text(result), f"{result.metrics[name] - published:+.3f}", holds
