"""What a plan will take on this machine before it runs: seconds of each head and each cell, and memory."""

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch

from brittle.checks.parts.evidence import sample_size
from brittle.core import components
from brittle.core.errors import BrittleError
from brittle.core.records import Cell
from brittle.core.traits import CheckTraits, Passes
from brittle.core.tree import Part, tree
from brittle.evaluation.disk import cells_of
from brittle.evaluation.heads import is_ready
from brittle.evaluation.inspection import drawn
from brittle.evaluation.machine import Machine, peak_bytes
from brittle.evaluation.measure import encoder_of
from brittle.evaluation.paper import protocol_on
from brittle.evaluation.probe import LOOKS
from brittle.evaluation.protocol import Protocol
from brittle.evaluation.rates import Rates, rates_of
from brittle.evaluation.recipe import Recipe
from brittle.planning.identity import Resolved, resolve
from brittle.types import Encoder, LabelFree, Network

PASSES = 6  # of a check's sample through the model, whatever the checks are
TRIALS = 60.0  # seconds after which no other trial begins, so that a large plan is outlined soon
DRAWN = 0.3  # seconds that a cell takes beside what is reckoned here: its pictures, its file
CELL = 256  # pixels of an image that count as one cell of a whole network
Head = tuple[object, ...]
_STARTED = time.process_time()  # what a process has taken until now, most of it for torch


@dataclass(frozen=True)
class Forecast:
    """What cells will take.

    Args:
        start: seconds until a worker begins, and again for the reports.
        heads: seconds of each head that is not there yet.
        cells: seconds of each cell, by identity, beside its head: at least, where the first member of an ensemble
            leaves nothing for the others, and at most.
        head_of: the head of each cell.
        memory: bytes that a worker takes at most, of the GPU where it runs on one.
        unknown: cells of which nothing can be told, and why.
        reckoned: how many of the heads were not tried, and reckoned by the size of their models from those that were.
    """

    start: float
    heads: Mapping[Head, float]
    cells: Mapping[str, tuple[float, float]]
    head_of: Mapping[str, Head]
    memory: float
    unknown: Mapping[str, str]
    reckoned: int = 0

    def seconds(self, workers: int, shared: Collection[str]) -> tuple[float, float]:
        """Until the last of so many workers is done, at least and at most.

        Args:
            shared: the cells that several may work at together.
        """
        return self._until(workers, shared, 0), self._until(workers, shared, 1)

    def _until(self, workers: int, shared: Collection[str], most: int) -> float:
        whole = sum(self.heads.values()) + sum(seconds[most] for seconds in self.cells.values())
        longest = dict(self.heads)
        for name, seconds in self.cells.items():
            head = self.head_of[name]
            alone = seconds[most] if name not in shared else 0.0
            longest[head] = max(longest.get(head, 0.0), self.heads.get(head, 0.0) + alone)
        return 2 * self.start + max(whole / workers, max(longest.values(), default=0.0))


def forecast(cells: Mapping[str, Cell], machine: Machine, checks: str, threads: int) -> Forecast:
    """What the cells that are to be done will take on this machine.

    Args:
        checks: ``none``, ``fast`` or ``full``.
        threads: of each worker.
    """
    before = torch.get_num_threads()
    told = _Teller(machine, checks)
    torch.set_num_threads(threads)
    try:
        for name, cell in cells.items():
            told.tell(name, cell)
    finally:
        torch.set_num_threads(before)
    return Forecast(told.start, told.heads, told.cells, told.head_of, told.memory, told.unknown, told.reckoned)


class _Teller:
    """Adds up, and remembers what is made once for several cells."""

    def __init__(self, machine: Machine, checks: str) -> None:
        self.machine, self.checks = machine, checks
        self.heads: dict[Head, float] = {}
        self.cells: dict[str, tuple[float, float]] = {}
        self.head_of: dict[str, Head] = {}
        self.unknown: dict[str, str] = {}
        self._began_with = 0 if machine.device.startswith("cuda") else peak_bytes(machine.device)
        self.start, self.memory = _STARTED, 0.0
        self._known: dict[Head, tuple[Rates, Protocol]] = {}
        self._made = set[object]()
        self._tried: list[tuple[str, float, Rates]] = []  # task, size of the model, its rates
        self._spent, self.reckoned = 0.0, 0

    def tell(self, name: str, cell: Cell) -> None:
        head = (cell.encoder, cell.dataset, cell.task, cell.protocol, cell.seed)
        try:
            resolved = resolve(cell, self.machine.precision)
            if head not in self._known:
                self._known[head] = self._begin(head, resolved)
            self.cells[name] = self._cell(resolved, *self._known[head])
            self.head_of[name] = head
        except BrittleError as error:
            self.unknown[name] = str(error)
        except Exception as error:  # noqa: BLE001 - of an encoder or a reader that others wrote; its cells will say so
            self.unknown[name] = " ".join(f"{type(error).__name__}: {error}".split())[:200]

    def _begin(self, head: Head, resolved: Resolved) -> tuple[Rates, Protocol]:
        cell, machine = resolved.cell, self.machine
        began = time.monotonic()
        encoder = encoder_of(cell.encoder, machine.device, resolved.weights)
        self.start += time.monotonic() - began
        rule = protocol_on(cell.protocol, cell.dataset, resolved.task, encoder)
        rates = self._rates(resolved, encoder, rule)
        self.heads[head] = 0.0 if is_ready(resolved, rule) else self._fit(resolved, rule, rates)
        weights = sum(weight.nbytes for weight in encoder.parameters())
        self.memory = max(self.memory, self._began_with + weights + rates.batch * rates.held)
        return rates, rule

    def _rates(self, resolved: Resolved, encoder: Encoder | Network, rule: Protocol) -> Rates:
        """By a trial or, when those so far took long enough, by the nearest of them, as a model takes about as much as
        it has weights times cells of its grid."""
        began, name, shape = time.monotonic(), resolved.task.name, resolved.data("test")[0].image.shape[-2:]
        cells = cells_of(encoder, rule, shape) if isinstance(encoder, Encoder) else math.prod(shape) / CELL
        size = float(sum(weight.numel() for weight in encoder.parameters()) or 1) * cells
        like = None
        if self._spent > TRIALS and self._tried:
            _, other, tried = min(self._tried, key=lambda each: (each[0] != name, abs(math.log(each[1] / size))))
            like = tried.times(size / other)
        rates = rates_of(resolved, encoder, rule, self.machine, like=like)
        if rates is like:
            self.reckoned += 1
        else:
            self._tried.append((name, size, rates))
        self._spent += time.monotonic() - began
        return rates

    def _fit(self, resolved: Resolved, rule: Protocol, rates: Rates) -> float:
        """Seconds of a head: features, where no other head has them, then steps and looks at the val split."""
        cell, views = resolved.cell, 1 + len(rule.views)
        train, val = (len(resolved.data(split)) for split in ("train", rule.chosen_on))
        features = (cell.encoder, cell.dataset, rule.look, "grid" in rule.reads, rule.window, rule.resize, rule.views)
        passed = 0.0 if features in self._made else rates.look.of(views * train + val, rates.batch)
        self._made.add(features)
        steps = rule.recipe.total(views * train)
        looks, share = _looks(rule.recipe, dense=resolved.task.headline not in resolved.task.proportions)
        fitted = steps * rates.step + looks * val * rates.judge
        return (2 + views) * (train + val) * rates.read + passed + share * fitted

    def _cell(self, resolved: Resolved, rates: Rates, rule: Protocol) -> tuple[float, float]:
        """Seconds of a cell, at least and at most: its attack, unless another cell has the same images, the scores as
        they are and in 8 bit, and the checks."""
        cell, attack, task = resolved.cell, resolved.attack, resolved.task
        count = len(resolved.data("test"))
        images = min(drawn(cell)[0] or count, count)
        score, beside = rates.score.of(images, rates.batch), DRAWN + images * rates.read
        if attack is None:
            return beside + score, beside + score
        reads = (rule.look, rule.reads) if attack.reads_as_head else ()
        made = (cell.encoder, cell.dataset, cell.attack, cell.eps, cell.norm, cell.seed, drawn(cell), rule.crop, reads)
        shared = attack.headless and made in self._made
        self._made.add(made)
        checks = "none" if isinstance(task, LabelFree) or attack.attack_traits.stored else self.checks

        def taken(passes: Callable[[Part], Passes]) -> float:
            attacked = 0.0 if shared else _attack(passes(attack), images, rates)
            return beside + 2 * score + attacked + _evidence(attack, checks, images, rates, passes)

        stops = {"classes", "per_image"} <= {*task.abilities}
        return taken(lambda part: part.fewest if stops else part.passes), taken(lambda part: part.passes)


def _attack(passes: Passes, images: int, rates: Rates) -> float:
    climbed = passes.backwards * rates.climb.of(images, rates.batch)
    return climbed + max(0, passes.forwards - passes.backwards) * rates.score.of(images, rates.batch)


def _evidence(attack: Part, checks: str, images: int, rates: Rates, passes: Callable[[Part], Passes]) -> float:
    """Seconds of the checks of an attacked number."""
    if checks == "none":
        return 0.0
    size = sample_size(images)
    taken = PASSES * rates.score.of(size, rates.batch)
    for name in components.names("checks"):
        traits = components.component("checks", name).traits
        if isinstance(traits, CheckTraits) and (traits.evidence == "fast" or checks == "full"):
            some = min(size, traits.on or size)
            tried = [passes(tree("attacks", text)) for text in traits.tries(str(attack.spec))]
            taken += sum(_attack(each, some, rates) + rates.score.of(some, rates.batch) for each in tried)
    return taken


def _looks(recipe: Recipe, dense: bool) -> tuple[int, float]:
    """How often a fit looks at the val split, and the share of its heads that is left on average."""
    if not recipe.patience:
        return 1, 1.0
    heads, left = len(recipe.rates), list[int]()
    for look in range(1, LOOKS + 1):
        left.append(heads)
        heads = (heads + 1) // 2 if dense and look % recipe.halving == 0 else heads
    return LOOKS, sum(left) / len(left) / len(recipe.rates)
