"""All results as they are stored, in one JSON list, with RobustBench's fields where they map; its schema is
``assets/results.schema.json``."""

import json as writer
from collections.abc import Sequence
from typing import Any

from brittle.core.budget import eps_text
from brittle.core.records import Result
from brittle.core.spec import parse
from brittle.planning.warm_start import unwrapped
from brittle.reports.parts.partners import clean_of

NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


def json(results: Sequence[Result], /) -> str:
    """Strict JSON: no nan, no inf. An attacked accuracy has a field ``robustbench`` more."""
    clean = clean_of(results)
    made = [{**result.to_dict(), **_robustbench(result, clean.get(result.id))} for result in results]
    return writer.dumps(made, indent=1, allow_nan=False) + "\n"


def _robustbench(result: Result, clean: Result | None) -> dict[str, Any]:
    """The entry of a model in RobustBench (Croce et al. 2021), as far as a result has it: accuracies in percent, that
    under the attack named by it, such as ``autoattack_acc``."""
    cell, name = result.cell, "accuracy"
    if cell.attack is None or cell.norm is None or result.failed is not None or result.task["headline"] != name:
        return {}
    weights = result.made_by.get("weights", {})
    facts: dict[str, str] = {
        "name": cell.encoder,
        "architecture": str(weights.get("arch") or weights.get("source") or cell.encoder),
        "dataset": parse(cell.dataset).name,
        "norm": NORMS.get(cell.norm, cell.norm),
        "eps": eps_text(cell.eps, cell.norm),
        **({"clean_acc": f"{100 * clean.metrics[name]:.2f}"} if clean else {}),
        f"{parse(unwrapped(cell.attack)).name}_acc": f"{100 * result.metrics[name]:.2f}",
    }
    return {"robustbench": facts}
