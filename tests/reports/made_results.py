"""Made-up results for the tests of the page, without measuring anything."""

import hashlib
import random

from brittle.core.records import Cell, Finding, Result

TASKS = {"classification": ("accuracy", True), "segmentation": ("miou", True), "depth": ("rmse", False)}


def number(
    value: float, task: str = "classification", attack: str | None = None, *, encoder: str = "one", **changes: object
) -> Result:
    """A made-up result under 16/255 or ``eps``, with an interval of .05 on both sides; its id is of what it is."""
    headline, higher = TASKS[task]
    eps = changes.pop("eps", 16 / 255) if attack else None
    values: dict[str, object] = {"dataset": "scenes", "seed": 0, "limit": None, "protocol": "standard"}
    values |= {key: changes.pop(key) for key in list(changes) if key in values}
    cell = Cell(encoder=encoder, task=task, attack=attack, eps=eps, norm="linf" if attack else None, **values)
    made: dict[str, object] = {
        "metrics": {headline: value},
        "metrics_uint8": {headline: value},
        "intervals": {headline: (value - 0.05, value + 0.05)},
        "images": 16,
        "findings": (Finding("budget", "ok", 0.0, "largest violation 2.8e-08"),) if attack else (),
        "cost": {"seconds": 2.5, "forwards": 100, "backwards": 40, "peak_bytes": 2**30},
        "made_by": {"weights_sha256": "1f" * 32, "data_sha256": "2e" * 32, "weights": {"licence": "Apache-2.0"}},
    }
    facts = {"name": task, "headline": headline, "higher_is_better": higher, "attack": "pgd", "unlike": ""}
    name = hashlib.sha256(repr((cell, value)).encode("utf8", "backslashreplace")).hexdigest()[:20]
    return Result(id=name, cell=cell, task=facts, **{**made, **changes})  # type: ignore[arg-type]


def two_encoders() -> list[Result]:
    """Two encoders, three tasks, two attacks, two budgets."""
    draw = random.Random(1)
    made: list[Result] = []
    for encoder in ("one", "two"):
        for task, (_, higher) in TASKS.items():
            made.append(number(0.9 if higher else 0.4, task, encoder=encoder))
            for attack, sees in (("embed", "encoder"), ("pgd", "head")):
                for eps in (4 / 255, 8 / 255):
                    value = draw.uniform(0.1, 0.8) if higher else draw.uniform(0.5, 2.0)
                    made.append(number(value, task, attack, encoder=encoder, eps=eps, sees=sees))
    return made
