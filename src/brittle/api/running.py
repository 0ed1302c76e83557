"""Measure a plan, resuming what its folder already holds."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from brittle.api.objects import Objects
from brittle.api.world import world
from brittle.core import components
from brittle.core.budget import default_eps
from brittle.core.errors import BrittleError, CellError, UsageError
from brittle.core.progress import duration, say, whole
from brittle.core.records import Cell, Result
from brittle.core.traits import LaunchTraits, Passes
from brittle.core.tree import tree
from brittle.evaluation.disk import needs_of, said
from brittle.evaluation.forecast import Forecast, forecast
from brittle.evaluation.inspection import drawn, look_at
from brittle.evaluation.machine import Machine, environment, machine
from brittle.evaluation.measure import failure, try_network
from brittle.launch.parts.cell import LARGE, Work
from brittle.launch.parts.crew import cores
from brittle.planning import identity, sweep, words
from brittle.planning import plan as plans
from brittle.planning.identity import dataset_of, resolve, task_of, traits_of, weights_of
from brittle.planning.plan import Plan
from brittle.results.attempts import forget
from brittle.results.listed import Results
from brittle.results.reporting import write
from brittle.results.store import Store
from brittle.types import Attack, Task
from brittle.types.threat import Norm

Span = tuple[float, float]


def run(
    encoders: Sequence[str | nn.Module],
    datasets: Sequence[str],
    tasks: Sequence[str | Task] = (),
    attacks: Sequence[str | Attack] = ("embed", "downstream"),
    eps: Sequence[float | str] | None = None,
    *,
    norm: Norm = "linf",
    seeds: Sequence[int] = (0,),
    limit: int | None = None,
    protocol: str = "standard",
    output_dir: str | Path | None = None,
    checks: str = "fast",
    name: str = words.UNNAMED,
    device: str = "auto",
    batch_size: int = 0,
    precision: str = "auto",
    keep_adversarial: bool = False,
    compiles: str = "auto",
) -> Results:
    """Measure every combination, resuming what ``output_dir`` already holds; the results in the plan's order. It is
    ``runs/NAME`` by default, or named after encoders and data where no name is given.

    Encoders, tasks and attacks may be Python objects in place of specs: a ``torch.nn.Module`` as ``py:`` takes it, a
    ``Task``, a function ``(model, batch, threat, rng) -> images``. What is measured with an object is not taken up
    again by a later call.

    Args:
        eps: budgets in pixel units; None for 8/255 in ``linf``, while ``l2`` and ``l1`` have no default.
        limit: how many test images, drawn balanced over classes; None for all.
        protocol: how images are measured; ``standard(subset=first)`` takes the first ones where there is a limit.
        compiles: whether attacks run the encoder compiled: ``on``, ``off``, or ``auto``: on a GPU, for long ones.
    """
    with world(), Objects() as objects:
        plan = plans.make(
            name=name,
            encoders=[objects.spec_of("encoders", encoder) for encoder in encoders],
            datasets=list(datasets),
            tasks=[objects.spec_of("tasks", task) for task in tasks],
            attacks=[objects.spec_of("attacks", attack) for attack in attacks],
            eps=[default_eps(norm)] if eps is None else list(eps),
            norm=norm,
            seeds=list(seeds),
            limit=limit,
            protocol=protocol,
            checks=checks,
        )
        where = machine(device, batch_size, precision=precision, keep=keep_adversarial, compiles=compiles)
        folder = Path(output_dir or plans.folder(plan))
        return Results(execute(plan, folder, where), folder)


def cells_of(plan: Plan, precision: str) -> dict[str, Cell]:
    """The cells of a plan by identity; what does not fit is said."""
    cells, notes = sweep.cells_of(plan)
    for note in notes:
        say(note, always=True)
    weights = {text: weights_of(text) for text in dict.fromkeys(cell.encoder for cell in cells)}
    return {resolve(cell, precision, weights[cell.encoder]).id: cell for cell in cells}


def _as_they_are_now(results: Sequence[Result]) -> dict[str, Cell]:
    """The cells of earlier results of a run folder, by the identity that each would have today, so that none of older
    weights, data or versions is shown beside newer ones. Where that cannot be told, as files or packages are gone, they
    stay as they are."""
    cells: dict[str, Cell] = {}
    for result in results:
        with suppress(BrittleError, OSError):
            cells[resolve(result.cell, str(result.made_by.get("precision", "fp32"))).id] = result.cell
    return cells


def passes_of(cell: Cell) -> Passes:
    """How often images of a cell go through the encoder for the attack and its scores, at most; checks and heads come
    on top."""
    attack = tree("attacks", cell.attack).passes if cell.attack else Passes(0, 0)
    count = len(dataset_of(cell.dataset, "test"))
    images = min(drawn(cell)[0] or count, count)
    scores = 2 if cell.attack else 1  # as they are, and rounded to 8 bit
    return Passes(images * (attack.forwards + scores), images * attack.backwards)


def _cost(cell: Cell) -> float:
    """What an attacked number takes, in forward passes; 0 for a clean one, most of which is its head."""
    passes = passes_of(cell)
    return passes.forwards + 2 * passes.backwards if cell.attack else 0


def foreseen(cells: Mapping[str, Cell], where: Machine, checks: str, executor: str) -> tuple[Forecast, int, Span]:
    """What cells will take; by how many workers of a launcher, of which 0 are one for each GPU or core of this machine;
    and seconds until the last of them is done, at least and at most."""
    there = torch.cuda.device_count() if where.device.startswith("cuda") else cores()
    given = components.complete("launch", executor).settings
    workers = min(int(str(given.get("devices", 1))) or there, len(cells))
    told = forecast(cells, where, checks, min(int(str(given.get("cpus", max(1, cores() // workers)))), cores()))
    large = [name for name in told.cells if _cost(cells[name]) > LARGE]
    return told, workers, told.seconds(workers, large)


def execute(
    plan: Plan, folder: Path, where: Machine, executor: str = "local", max_hours: float = math.inf
) -> list[Result]:
    """Measure what a run folder lacks of a plan, and write plan, environment and reports into it; the results that are
    there when the launcher is back.

    Raises:
        UsageError: it would take more than ``max_hours``.
    """
    store = Store(folder)
    cells = cells_of(plan, where.precision)
    lacking = store.missing(list(cells), plan.checks, where.keep)
    say(f"{len(cells)} cells, {len(cells) - len(lacking)} done before, {len(lacking)} to do; {folder}")
    for text in dict.fromkeys(cells[name].encoder for name in lacking):
        _validate(text)
    look_at(cells[name] for name in lacking)
    _try_networks([cells[name] for name in lacking], where)
    if lacking and max_hours < math.inf:
        told, _, seconds = foreseen({name: cells[name] for name in lacking}, where, plan.checks, executor)
        for name, why in told.unknown.items():
            say(f"warning: nobody knows how long {cells[name]} takes: {why}", always=True)
        require_time(seconds, max_hours)
    store.note("plan.yaml", json.dumps(plan.model_dump(), indent=1) + "\n")  # JSON is YAML
    store.note("env.json", json.dumps(environment(where.device), indent=1) + "\n")
    store.supersede({**_as_they_are_now(store.others(cells)), **cells})
    if lacking:
        lacking = _in_turn(lacking, cells)
        say(said(*needs_of((cells[name] for name in lacking), where.device)))
        costs = {name: _cost(cells[name]) for name in lacking}
        forget(store.root, lacking)
        with whole(costs):
            work = Work({name: cells[name] for name in lacking}, store, where, plan.checks, costs, list(cells))
            with work.note():
                components.build("launch", executor, work)
    mine = results_of(store, list(cells))
    there = {result.id for result in mine}
    mine += _lost({name: cells[name] for name in lacking if name not in there}, executor)
    write(store, mine)
    return mine


def _lost(cells: Mapping[str, Cell], executor: str) -> list[Result]:
    """The rows of cells that are neither done nor failed, where the launcher came back only when all should be: said,
    never left out without a word."""
    traits = components.component("launch", components.complete("launch", executor).name).traits
    if isinstance(traits, LaunchTraits) and not traits.waits:
        return []
    error = CellError("no worker could write down what became of it, as on a full disk; run again")
    return [failure(cell, error, name) for name, cell in cells.items()]


def require_time(seconds: Span, max_hours: float) -> None:
    """Raise UsageError where a plan takes longer than it may even at least; where it does at most, that is said."""
    if seconds[0] <= 3600 * max_hours < seconds[1]:
        say(f"warning: the plan may take {duration(seconds[1])}, more than --max-hours {max_hours:g}", always=True)
    if seconds[0] > 3600 * max_hours:
        what = f"the plan takes about {duration(seconds[0])}, more than --max-hours {max_hours:g}"
        raise UsageError(f"{what}; take fewer images (--limit), attacks or encoders, or more workers (--devices)")


def results_of(store: Store, plan: Sequence[str]) -> list[Result]:
    """The results of a plan's cells, by their identities in its order."""
    order = {name: place for place, name in enumerate(plan)}
    mine = (result for result in store.results() if result.id in order)
    return sorted(mine, key=lambda result: order[result.id])


def _in_turn(names: Sequence[str], cells: Mapping[str, Cell]) -> list[str]:
    """Of each encoder, data set and seed first the heads that read the patch features, the larger part: one pass over
    the training images then serves the others as well."""
    groups = {name: (cells[name].encoder, cells[name].dataset, cells[name].seed) for name in names}
    order = {group: place for place, group in enumerate(dict.fromkeys(groups.values()))}
    return sorted(names, key=lambda name: (order[groups[name]], "grid" not in task_of(cells[name].task).reads))


def _try_networks(cells: Sequence[Cell], where: Machine) -> None:
    """Have whole networks tried on the data that they are to be attacked on; what stops one fails its own cells."""
    whole = sorted((cell for cell in cells if identity.whole(cell.encoder)), key=_cost)
    for cell in {(cell.encoder, cell.dataset, cell.task): cell for cell in whole}.values():  # the costliest of each
        with suppress(CellError):
            try_network(cell, where)


def _validate(text: str) -> None:
    """Have an encoder that can be refused for what is in its file refused before any work starts."""
    traits, full = traits_of(text)
    if traits.validate:
        components.call(traits.validate, full)
