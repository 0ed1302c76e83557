"""Time of ``brittle run`` on a small plan, in a fresh cache and with features there, over the floor of its attacks'
passes; beside the loops that most people write.

    python benchmarks/endtoend.py --json endtoend.json

The floor is one forward and one backward to the pixels for each step of each attack on each image, with frozen weights,
and nothing else: no start of a process, no heads, no scores, checks, pictures or reports; the loops leave those out as
well, and do not freeze weights. Where labels are scored a run is over with an image once it is wrong, so that part of
it may take less than its floor. Made-up scenes are rendered before: other data sets are there already.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import torch
import typer

from brittle.core import shared
from brittle.core.records import Cell
from brittle.evaluation import loading
from brittle.evaluation.machine import Machine
from brittle.evaluation.measure import encoder_of
from brittle.evaluation.paper import protocol_on
from brittle.planning.identity import resolve
from brittle.planning.plan import Plan, make
from brittle.planning.sweep import cells_of
from brittle.results.store import read_run
from brittle.types import Batch, Model, frozen
from floors import Value, floor, loss_of, naive
from rounds import ROUNDS, in_turn, rows_of, show, tell

FRESH, FEATURES, HEADS = "run, fresh cache", "run, features there", "run, heads there"
GONE = {
    FRESH: ("features", "targets", "heads", "adversarial"),
    FEATURES: ("heads", "adversarial"),
    HEADS: ("adversarial",),
}
"""Before each run, what is taken out of the cache."""
DATA = "scenes(train=192, val=64, test=64)"


class Climb(NamedTuple):
    """One attacked cell: what it climbs, for so many steps, around which images [B,3,H,W]."""

    model: Model
    value: Value
    images: torch.Tensor
    steps: int


def climb(cell: Cell) -> Climb:
    """The same work as a cell's attack, on a head that was not fitted, which is as fast."""
    resolved, machine = resolve(cell), Machine()
    assert resolved.attack is not None
    task, encoder = resolved.task, encoder_of(cell.encoder, machine.device, resolved.weights)
    rule, data = protocol_on(cell.protocol, cell.dataset, task, encoder), resolved.data("test")
    count = min(cell.limit or len(data), len(data))
    batches = list(loading.batches(data, range(count), task, rule, machine))
    images, target = (torch.cat(parts) for parts in zip(*(batch[:2] for batch in batches)))
    head = task.head(rule.look.width(encoder.dim), loading.classes_of(data, task.target))
    model = Model(task, head, encoder, window=rule.window, stride=rule.stride, look=rule.look, reads=rule.reads).eval()
    value = loss_of(model, Batch(images, target, [str(number) for number in range(count)]))
    if resolved.attack.sees == "encoder":

        def moved(images: torch.Tensor) -> torch.Tensor:
            features = model.encode(images, rule.look)
            return torch.stack([getattr(features, name).square().mean() for name in rule.reads])

        value = moved
    return Climb(model, value, images, resolved.attack.passes.backwards)


def floors(climbs: Sequence[Climb]) -> None:
    for each in climbs:
        with frozen(each.model):
            floor(each.value, each.images, each.steps)


def loops(climbs: Sequence[Climb]) -> None:
    for each in climbs:
        with frozen(each.model):
            naive(each.model, each.value, each.images, each.steps)


def command(plan: Plan, folder: Path) -> list[str]:
    """The words of ``brittle run`` for a plan."""
    named = {"-e": plan.encoders, "-d": plan.datasets, "-t": plan.tasks, "-a": plan.attacks}
    words = [word for flag, values in named.items() for value in values for word in (flag, value)]
    more = ["--limit", str(plan.limit), "--protocol", plan.protocol, "--output-dir", str(folder), "-q"]
    return [sys.executable, "-m", "brittle", "run", *words, *more]


def run(plan: Plan, folder: Path) -> int:
    """A run in a new folder and a process of its own; how many cells were measured."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(command(plan, folder), check=True, stdout=subprocess.DEVNULL)
    return sum(result.failed is None for result in read_run(folder))


def forget(name: str) -> None:
    """Before a way is timed: what it shall not find."""
    for kind in GONE.get(name, ()):
        shutil.rmtree(shared.folder(kind), ignore_errors=True)


def measured(plan: Plan, root: Path, rounds: int, path: Path | None) -> None:
    """Measure, print and write."""
    cells = [cell for cell in cells_of(plan)[0] if cell.attack]
    for split in ("train", "val", "test"):
        data = resolve(cells[0]).data(split)
        _ = data[len(data) - 1]
    climbs = [climb(cell) for cell in cells]
    work: dict[str, Callable[[], int | None]] = {
        "floor": partial(floors, climbs),
        "naive loops": partial(loops, climbs),
    }
    work |= {name: partial(run, plan, root / "run") for name in GONE}
    timed = in_turn(work, rounds, before=forget)
    done = {name: found for name, found in timed.found.items() if found is not None}
    rows = rows_of(timed.seconds, "floor", "naive loops", cells=done)
    show(rows, note=lambda row: f"{row['cells']} cells" if "cells" in row else "")
    passes = {str(cell): each.steps * len(each.images) for cell, each in zip(cells, climbs)}
    tell(path, plan=plan.model_dump(mode="json"), image_steps=passes, rows=rows)


def main(
    encoder: Annotated[str, typer.Option(help="Encoder spec.")] = "embedded:dino",
    data: Annotated[str, typer.Option(help="Data set spec.")] = DATA,
    task: Annotated[list[str] | None, typer.Option(help="Task spec; all three if none.")] = None,
    attack: Annotated[list[str] | None, typer.Option(help="Attack spec; embed and downstream if none.")] = None,
    limit: Annotated[int, typer.Option(help="Test images.")] = 16,
    rounds: Annotated[int, typer.Option(help="How often each is timed.")] = ROUNDS,
    path: Annotated[Path | None, typer.Option("--json", help="Where to write the figures too.")] = None,
) -> None:
    """Measure and print."""
    plan = make(
        encoders=[encoder],
        datasets=[data],
        tasks=task or ["classification", "segmentation", "depth"],
        attacks=attack or ["embed", "downstream"],
        limit=limit,
        protocol="standard(heads=quick)",
    )
    before = os.environ.get("BRITTLE_CACHE")
    with TemporaryDirectory() as folder:
        os.environ["BRITTLE_CACHE"] = str(Path(folder) / "cache")
        try:
            measured(plan, Path(folder), rounds, path)
        finally:
            os.environ.pop("BRITTLE_CACHE")
            os.environ.update({"BRITTLE_CACHE": before} if before is not None else {})


if __name__ == "__main__":
    typer.run(main)
