"""Made-up results for the tests of the page, without measuring anything."""

import base64
import hashlib
import io
import math
import random
from collections.abc import Callable, Sequence

from PIL import Image

from brittle.core.pictures import ROLES, Picture
from brittle.core.records import Cell, Finding, OfClass, Result, Spread

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


def webp(colour: str = "#0072b2", edge: int = 8) -> str:
    """A drawing of one colour, in base64."""
    stream = io.BytesIO()
    Image.new("RGB", (edge, edge), colour).save(stream, "WEBP", lossless=True)
    return base64.b64encode(stream.getvalue()).decode()


def pictures(kind: str = "label", name: str = "ring") -> list[Picture]:
    """Three made-up pictures, with everything that there is for predictions of a kind."""
    drawings = dict.fromkeys(("clean", "change", "tokens"), webp())
    drawings |= dict.fromkeys(("attacked", "tokens_attacked"), webp("#d55e00"))
    maps = {"truth": webp(), "before": webp("#009e73"), "after": webp("#cc79a7")}
    more: dict[str, object] = {
        "label": {"labels": (name, name, "cube"), "shares": (0.981, 0.706)},
        "mask": {"drawings": {**drawings, **maps}, "legend": ((name, "#0072b2"), ("wall", "#d55e00"))},
        "metres": {"drawings": {**drawings, **maps}, "ends": (0.5, 7.25)},
        "": {},
    }[kind]
    ends = {"mask": (0.04, 0.63), "metres": (0.312, 1.236)}.get(kind, (0.0, 1.0))
    values: dict[str, object] = {"image": name, "drawings": drawings, "edge": 8, "factor": 15, "damage": ends, **more}
    return [Picture(role, kind=kind, **values) for role in ROLES]  # type: ignore[arg-type]


def spreads(results: Sequence[Result], count: int = 10, name: str = "class") -> Callable[[Result], Spread]:
    """Made-up images and ``count`` classes behind every number: of its images the headline is the mean, and of its
    classes the first loses most to an attack."""

    def found(result: Result) -> Spread:
        value = result.metrics[result.task["headline"]]
        images = [] if result.cell.task == "classification" else [value * place / 20 for place in range(1, 41)]
        lost = 1.0 if result.cell.attack else 0.0
        rates = [0.9 - lost * 0.9 * (count - place) / count for place in range(count)]
        ends = (0.05, 0.95) if result.cell.task == "classification" else (math.nan, math.nan)
        named = [OfClass(place, f"{name} {place}", rate, *ends) for place, rate in enumerate(rates)]
        return Spread(images, () if result.cell.task == "depth" else named)

    known = {each.id for each in results}
    return lambda result: found(result) if result.id in known else Spread()
