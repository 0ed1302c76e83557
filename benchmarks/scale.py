"""How a run of 10,000 cells scales over GPUs: workers, their failures and their file system, simulated.

    python benchmarks/scale.py

Prints the tables of docs/scale.md and draws its plot; takes some minutes. Workers do what ``launch/parts`` has them do:
each walks over the cells that it takes to be left, in the order of its turn, claims the first that nobody is at, makes
the head if it is the first to need it, attacks and scores; when all that is left is taken, it helps with the batches of
others. Between two events every activity goes on at a constant rate; where workers ask more of the server than it
gives, what they ask takes longer for all. docs/scale.md says what is assumed; benchmarks/operations.py counts
operations.
"""

import heapq
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

HOUR = 3600.0
IMAGES, TRAINING, BATCH = 50_000, 1_280_000, 64  # test and training images; images in a batch on a GPU at 224 and 518
BATCHES = -(-IMAGES // BATCH)
ATTEMPTS, LEASE, POLL, BEAT = 3, 60.0, 1.0, 5.0  # of the real workers: launch/parts/cell, core/claims, results/journal
FIT = 300.0  # seconds that a head is fitted for, on features
CELL, BUSY, DONE, FINISHED, SHARED, KEPT, SIGN, LOOK = 61, 8, 17, 2, 29, 20, 3, 4
FEATURE, FOUND, LISTED = 34, 5, 6
"""Operations, as benchmarks/operations.py counts them: a cell without its batches; a claim on one that another is at;
one that turns out to be done; whether one is finished; a batch of a shared cell, attacked and scored; one that a helper
finds done; a sign of life; the launcher's look at a journal."""
NAMES = 100  # of files, that one operation lists
SORTING = 4.3e-6  # seconds for each cell that is left, to put them in order: once for each that turns out to be done


class Kind(NamedTuple):
    """Encoders of one architecture: how many, images x steps a second of an attack, edge of the input in pixels."""

    count: int
    rate: float
    size: int


KINDS = (Kind(10, 7830, 224), Kind(16, 2040, 224), Kind(8, 585, 224), Kind(6, 237, 518))  # S/16, B/16, L/16, B/14
HEADS, BUDGETS = 5, 7
STEPS = (20.7, 20.7, 40.7, 102.7, 102.7, 202.0, 308.0)
"""Passes of an image in units of a step (a forward and a backward): EmbedAttack, which heads share, then those of which
each budget continues from the one before."""


@dataclass(frozen=True)
class Cells:
    """All cells in the order of their turn, a head's side by side. ``attack`` and ``score`` are seconds on a GPU of
    speed 1, ``size`` bytes of the attacked images, ``before`` the cell that one continues from or -1."""

    attack: np.ndarray
    score: np.ndarray
    size: np.ndarray
    before: np.ndarray
    encoder: np.ndarray
    features: np.ndarray  # seconds, of each encoder
    per_head: int

    def __len__(self) -> int:
        return len(self.attack)

    @property
    def work(self) -> float:
        """Seconds of all of it on one GPU of speed 1."""
        heads = len(self) // self.per_head
        return float(self.attack.sum() + self.score.sum() + self.features.sum() + heads * FIT)

    @property
    def piece(self) -> float:
        """Seconds of the longest piece that workers cannot share."""
        return float(max(self.score.max(), FIT, (self.attack / BATCHES).max(), self.features.max()))


def cells(kinds: tuple[Kind, ...] = KINDS, heads: int = HEADS, budgets: int = BUDGETS, first: str = "cheap") -> Cells:
    """The cells of a plan whose encoders are listed from ``cheap`` to dear, or the ``dear`` ones first."""
    encoders = [kind for kind in kinds for _ in range(kind.count)]
    encoders = encoders if first == "cheap" else encoders[::-1]
    rows: list[tuple[float, float, float, int, int]] = []
    for head in range(heads):  # turn by turn: one head of each encoder, then the next
        for number, kind in enumerate(encoders):
            forward = IMAGES / kind.rate / 3
            rows.append((0.0, forward, 0.0, -1, number))
            for place, steps in enumerate(STEPS):
                shared = place == 0 and head > 0  # the images are there, and are only read
                seconds, size = (0.0 if shared else steps * IMAGES / kind.rate), IMAGES * 12.0 * kind.size**2
                for budget in range(budgets):
                    rows.append((seconds, 2 * forward, size, len(rows) - 1 if place and budget else -1, number))
    attack, score, size, before, encoder = (np.array(column) for column in zip(*rows))
    features = np.array([TRAINING / kind.rate / 3 for kind in encoders])
    return Cells(attack, score, size, before, encoder, features, 1 + len(STEPS) * budgets)


@dataclass(frozen=True)
class Setting:
    """What a run is simulated with. ``mtbf`` and ``limit`` are hours between failures of a GPU, and of a job's time
    limit, 0 for none; ``latency`` seconds of an operation, ``most`` operations a second of the server, ``client`` and
    ``server`` bytes a second."""

    workers: int
    mtbf: float = 0.0
    limit: float = 0.0
    share: bool = True
    spread: float = 0.1
    slow: float = 0.02  # share of the workers at a third of the speed
    restart: float = 300.0
    latency: float = 1e-3
    most: float = 20_000.0
    client: float = 1e9
    server: float = 10e9
    reads: float = 2.0  # how often a helper reads the batches that are done, to find those that are not
    again: bool = True  # whether a walk begins again after each cell that it finds done
    listed: int = LISTED  # operations for each file of features, once a head is fitted
    seed: int = 0


class Outcome(NamedTuple):
    """What became of it; ``longest`` is the most that one death cost, ``disk`` the most bytes of attacked images at a
    time, ``peak`` operations a second in the busiest minute, ``spent`` the share of the operations of each activity."""

    hours: float
    bound: float
    deaths: int
    lost: float
    longest: float
    failed: int
    operations: float
    peak: float
    bytes: float
    disk: float
    spent: tuple[float, ...]


FREE, TAKEN, OVER = 0, 1, 2
LATER, OPEN, HELD, GONE = range(
    4
)  # how a walk sees a cell: it continues from one that is not over, nobody is at it ...
WAIT, WALK, FEATURES, FITTING, ATTACK, SCORE, DEAD = range(7)
ROUNDS, NEAR = 5, 0.01  # of finding how crowded the server is, and how near is enough


@dataclass
class Simulation:
    """A run, from event to event."""

    cells: Cells
    setting: Setting
    now: float = 0.0
    events: list[tuple[float, int, str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        cells, setting, count = self.cells, self.setting, self.setting.workers
        self.random = np.random.default_rng(setting.seed)
        self.speed = self.random.uniform(1 - setting.spread, 1 + setting.spread, count)
        self.speed[: round(setting.slow * count)] /= 3
        self.random.shuffle(self.speed)
        self.state, self.pool = np.zeros(len(cells), int), np.ones(len(cells))
        self.owner, self.attempts = np.full(len(cells), -1), np.zeros(len(cells), int)
        self.feeds = np.full(len(cells), -1)
        self.feeds[cells.before[cells.before >= 0]] = np.flatnonzero(cells.before >= 0)
        self.made, self.seen = np.zeros(len(cells) // cells.per_head, int), np.zeros(len(cells.features), int)
        self.left = np.ones((count, len(cells)), bool)
        self.last, self.doing = np.full(count, -1), np.full(count, WAIT)
        self.at, self.part = np.full(count, -1), np.zeros(count)  # which cell, and how much of the activity is left
        self.busy, self.ops, self.data = np.zeros(count), np.zeros(count), np.zeros(count)  # of the whole activity
        self.queue: dict[int, list[int]] = defaultdict(list)  # cells that a worker is about to help with
        self.helped: list[set[int]] = [set() for _ in range(count)]
        self.crowd, self.flow = 1.0, 1.0  # how many times longer operations and bytes take
        self.deaths, self.lost, self.longest, self.failed = 0, 0.0, 0.0, 0
        self.total_ops, self.total_bytes, self.disk, self.most_disk = 0.0, 0.0, 0.0, 0.0
        self.history = [(0.0, 0.0)]
        self.over, self.head = 0, np.arange(len(cells)) // cells.per_head
        self.rest = np.ones(len(cells.features))  # of the features of each encoder
        self.theirs = [np.flatnonzero(cells.encoder == encoder) for encoder in range(len(cells.features))]
        self.seen_as = np.zeros(len(cells), np.uint8)
        for encoder in range(len(cells.features)):
            self._note(encoder)
        self.spent = np.zeros(DEAD + 1)  # operations of each activity
        self.fresh = True  # something has come free since those who wait looked
        for worker in range(count):
            self._doom(worker)

    # --- time

    def run(self) -> Outcome:
        """Until all cells are over."""
        while self.over < len(self.cells):
            self._hire()
            rate, every = self._rates()
            share = np.bincount(self.at[every], rate[every], len(self.cells)) if len(every) else self.pool
            active = np.flatnonzero((self.doing != WAIT) & (self.doing != DEAD))
            shared = self.doing[active] == ATTACK
            left = np.where(shared, self.pool[self.at[active]], self.part[active])
            pace = np.where(shared, share[self.at[active]], rate[active])
            spans = left / pace
            span = min(spans.min(initial=np.inf), self.events[0][0] - self.now if self.events else np.inf)
            assert np.isfinite(span), "nobody is at anything"
            self._pass(max(span, 0.0), rate, share, every)
            ended = active[spans <= span + 1e-9]
            for worker in sorted(ended, key=lambda one: self.owner[self.at[one]] != one):  # who waits for helpers first
                self._end(int(worker))
            while self.events and self.events[0][0] <= self.now + 1e-9:
                _, _, what, number = heapq.heappop(self.events)
                getattr(self, f"_{what}")(number)
        return self._outcome()

    def _rates(self) -> tuple[np.ndarray, np.ndarray]:
        """How much of its activity each worker does a second, and who is at attacked batches."""
        setting = self.setting
        asks, carried = self.ops * setting.latency, self.data / setting.client
        idle = (self.doing == WAIT) | (self.doing == DEAD)
        waiting, alive = np.count_nonzero(self.doing == WAIT), np.count_nonzero(self.doing != DEAD)
        round_trip = waiting and np.count_nonzero(self.state == TAKEN) * (BUSY + FINISHED)
        for _ in range(ROUNDS):
            rate = 1 / np.maximum(self.busy + self.crowd * asks + self.flow * carried, 1e-6)
            rate[idle] = 0
            polls = waiting * round_trip / (POLL + round_trip * setting.latency * self.crowd)
            looks = min(alive * LOOK, 1 / (setting.latency * self.crowd))  # of the launcher, one after the other
            self.asked, self.carried = float(rate @ self.ops) + polls + alive * SIGN / BEAT + looks, rate @ self.data
            before = self.crowd, self.flow
            self.crowd = max(1.0, self.crowd * self.asked / setting.most)
            self.flow = max(1.0, self.flow * self.carried / setting.server)
            if abs(self.crowd / before[0] - 1) + abs(self.flow / before[1] - 1) < NEAR:
                break
        return rate, np.flatnonzero(self.doing == ATTACK)

    def _pass(self, span: float, rate: np.ndarray, share: np.ndarray, every: np.ndarray) -> None:
        self.now += span
        self.spent += np.bincount(self.doing, rate * self.ops, DEAD + 1) * span
        self.total_ops += min(self.asked, self.setting.most) * span
        self.total_bytes += min(self.carried, self.setting.server) * span
        self.history.append((self.now, self.total_ops))
        self.part -= rate * span
        if len(every):
            self.pool = np.maximum(0.0, self.pool - share * span)

    def _at(self, seconds: float, what: str, number: int) -> None:
        heapq.heappush(self.events, (self.now + seconds, len(self.events) + self.deaths, what, number))

    # --- what a worker does

    def _hire(self) -> None:
        """Those who wait look for something to do, if anything has come free."""
        if not self.fresh:
            return
        self.fresh = False
        for worker in np.flatnonzero(self.doing == WAIT):
            self._look(int(worker))

    def _look(self, worker: int) -> None:
        """Walk over what is left, to the first cell that nobody is at; else to those of others."""
        left, size = self.left[worker], self.cells.per_head
        free, passed = left & (self.seen_as == OPEN), left.copy()
        begin = self.last[worker] * size
        if begin >= 0 and free[begin : begin + size].any():
            target = begin + int(free[begin : begin + size].argmax())
            passed[:begin] = passed[target:] = False
        elif free.any():
            target = int(free.argmax())
            passed[target:] = False
            if begin >= target:
                passed[begin : begin + size] = left[begin : begin + size]
        else:
            target = -1
        over = np.flatnonzero(passed & (self.seen_as == GONE))
        held = passed & (self.seen_as == HELD)
        if self.setting.again:
            tries, again = _tries(held, over, self.head), 1 + len(over)
            operations = tries * BUSY + len(over) * DONE
        else:
            operations, again = np.count_nonzero(held) * BUSY + len(left) / NAMES, 1
        sorting = again * SORTING * np.count_nonzero(left)
        left[over] = False
        if target >= 0:
            self._set_out(worker, target, sorting, operations)
        elif self.setting.share:
            self._go_help(worker, np.flatnonzero(left & (self.state == TAKEN)), sorting, operations)

    def _note(self, encoder: int) -> None:
        """What a walk sees of the cells of an encoder."""
        those = self.theirs[encoder]
        before, state, head = self.cells.before[those], self.state[those], self.head[those]
        making = (self.made[head] == TAKEN) | ((self.seen[encoder] == TAKEN) & (self.made[head] != OVER))
        held = (state == TAKEN) | ((state == FREE) & making)
        seen_as = np.where(held, HELD, np.where(state == OVER, GONE, OPEN))
        self.seen_as[those] = np.where((before >= 0) & (self.state[before] != OVER), LATER, seen_as)

    def _set_out(self, worker: int, cell: int, sorting: float, operations: float) -> None:
        """To a cell of its own; what a dead worker or helpers have left of it is read."""
        self._claim(worker, cell)
        done = 1 - self.pool[cell]
        operations += CELL + done * BATCHES * KEPT
        self._begin(worker, WALK, sorting, operations, self.setting.reads * done * self.cells.size[cell])

    def _claim(self, worker: int, cell: int) -> None:
        head, encoder = cell // self.cells.per_head, self.cells.encoder[cell]
        self.at[worker], self.owner[cell], self.state[cell], self.last[worker] = cell, worker, TAKEN, head
        if self.made[head] == FREE:
            self.made[head] = TAKEN
            if self.seen[encoder] == FREE:
                self.seen[encoder] = TAKEN
        self._note(encoder)

    def _go_help(self, worker: int, those: np.ndarray, sorting: float, operations: float) -> None:
        """To the cells that others are at, the own head's first: read what they have, and attack what is left."""
        new = [int(cell) for cell in those if cell not in self.helped[worker] and self.cells.attack[cell]]
        self.queue[worker] = sorted(new, key=lambda cell: cell // self.cells.per_head != self.last[worker])
        self._help_next(worker, sorting, operations)

    def _help_next(self, worker: int, sorting: float = 0.0, operations: float = 0.0) -> None:
        data = 0.0
        while self.queue[worker]:
            cell = self.queue[worker].pop(0)
            if self.state[cell] != TAKEN or self.pool[cell] >= 1 and not self._attacked(cell):
                continue  # it is over, or its head is still being made
            done = 1 - self.pool[cell]
            operations, data = (
                operations + done * BATCHES * KEPT,
                data + self.setting.reads * done * self.cells.size[cell],
            )
            if self.pool[cell] * BATCHES < 1:
                self.helped[worker].add(cell)
                continue
            self.at[worker] = cell
            self._begin(worker, WALK, sorting, operations, data)
            return
        self.at[worker] = -1
        if data:
            self._begin(worker, WALK, sorting, operations, data)
        else:
            self.doing[worker] = WAIT

    def _attacked(self, cell: int) -> bool:
        return bool(((self.at == cell) & (self.doing == ATTACK)).any())

    def _begin(self, worker: int, what: int, seconds: float, operations: float = 0.0, data: float = 0.0) -> None:
        self.doing[worker], self.part[worker] = what, 1.0
        self.busy[worker], self.ops[worker], self.data[worker] = seconds, operations, data

    def _end(self, worker: int) -> None:
        """The activity of a worker has come to its end: the next one."""
        cell, what = int(self.at[worker]), self.doing[worker]
        if cell < 0:
            self.doing[worker] = WAIT
            self._look(worker)
        elif self.owner[cell] != worker:
            self._helper(worker, cell, what)
        elif what == SCORE:
            self._finish(worker, cell)
        else:
            self._go_on(worker, cell, what)

    def _helper(self, worker: int, cell: int, what: int) -> None:
        if what == WALK and self.state[cell] == TAKEN and self.pool[cell] * BATCHES >= 1:
            self._attack(worker, cell)
        else:
            self._help_next(worker)
            if self.doing[worker] == WAIT:
                self._look(worker)

    def _go_on(self, worker: int, cell: int, what: int) -> None:
        cells, speed = self.cells, self.speed[worker]
        head, encoder = cell // cells.per_head, cells.encoder[cell]
        if what == WALK and self.attempts[cell] >= ATTEMPTS:
            self.failed += 1
            self._release_head(cell)
            self._over(worker, cell)
            return
        if what == FEATURES:
            self.seen[encoder], self.fresh = OVER, True
        if what == FITTING:
            self.made[head], self.fresh = OVER, True
        self._note(encoder)
        if self.made[head] != OVER:
            if self.seen[encoder] != OVER:
                self._begin(worker, FEATURES, cells.features[encoder] / speed, TRAINING / BATCH * FEATURE)
                self.part[worker] = self.rest[encoder]
            else:
                there = TRAINING / BATCH * np.count_nonzero(self.seen == OVER)
                self._begin(worker, FITTING, FIT / speed, TRAINING / BATCH * FOUND + there * self.setting.listed)
        elif what != ATTACK and cells.size[cell] and self.pool[cell] > 0:
            self._attack(worker, cell)
            self.fresh = True
        else:
            late = self._last_batch(cell) if what == ATTACK else 0.0
            self._begin(worker, SCORE, late + cells.score[cell] / speed, 0.0, cells.size[cell])

    def _attack(self, worker: int, cell: int) -> None:
        cells = self.cells
        if self.pool[cell] >= 1 and not self._attacked(cell):
            self.disk += cells.size[cell]
            self.most_disk = max(self.most_disk, self.disk)
        warm = 2 if cells.before[cell] >= 0 else 1
        self._begin(worker, ATTACK, cells.attack[cell] / self.speed[worker], BATCHES * SHARED, warm * cells.size[cell])

    def _last_batch(self, cell: int) -> float:
        """What the owner waits for at the end: the batch in hand of the slowest helper."""
        others = (self.at == cell) & (self.doing == ATTACK) & (np.arange(len(self.at)) != self.owner[cell])
        return float(self.cells.attack[cell] / BATCHES / self.speed[others].min()) if others.any() else 0.0

    def _finish(self, worker: int, cell: int) -> None:
        before = self.cells.before[cell]
        self.disk -= self.cells.size[cell] if self.feeds[cell] < 0 else 0
        self.disk -= self.cells.size[before] if before >= 0 else 0
        self._over(worker, cell)

    def _over(self, worker: int, cell: int) -> None:
        self.state[cell], self.owner[cell], self.fresh, self.over = OVER, -1, True, self.over + 1
        self._note(self.cells.encoder[cell])
        self.left[worker, cell] = False
        self.at[worker], self.doing[worker] = -1, WAIT
        self._look(worker)

    # --- failures

    def _doom(self, worker: int) -> None:
        """When a worker will end: by a failure, or at the time limit of its job."""
        setting = self.setting
        spans = [float(self.random.exponential(setting.mtbf))] if setting.mtbf else []
        spans += [setting.limit * (1 - 0.1 * float(self.random.random()))] if setting.limit else []
        if spans:
            self._at(min(spans) * HOUR, "die", worker)

    def _die(self, worker: int) -> None:
        cell, what = int(self.at[worker]), self.doing[worker]
        self.deaths += 1
        if cell >= 0 and what not in (WAIT, WALK):
            whole = self.busy[worker]
            if what == FEATURES:
                part = min(float(self.random.random()) * BATCH / TRAINING, 1 - self.part[worker])
                self.rest[self.cells.encoder[cell]] = self.part[worker] + part
                lost = part * whole
            elif what == ATTACK:
                part = min(float(self.random.random()) / BATCHES, 1 - self.pool[cell])
                self.pool[cell] += part
                lost = part * whole
            else:
                lost = (1 - self.part[worker]) * whole
            self.lost, self.longest = self.lost + lost, max(self.longest, lost)
        if cell >= 0 and self.owner[cell] == worker:
            if what != WALK:
                self.attempts[cell] += 1
            self.owner[cell] = -1
            self._at(LEASE, "expire", cell)
        self.doing[worker], self.at[worker] = DEAD, -1
        self._at(self.setting.restart, "return", worker)

    def _release_head(self, cell: int) -> None:
        head, encoder = cell // self.cells.per_head, self.cells.encoder[cell]
        self.made[head] = FREE if self.made[head] == TAKEN else self.made[head]
        self.seen[encoder] = FREE if self.seen[encoder] == TAKEN else self.seen[encoder]
        self._note(encoder)

    def _expire(self, cell: int) -> None:
        """The claim of a dead worker is another's to take."""
        self.state[cell], self.fresh = FREE, True
        self._release_head(cell)

    def _return(self, worker: int) -> None:
        """A new worker, which knows of no cell that is done."""
        self.left[worker], self.last[worker], self.doing[worker] = True, -1, WAIT
        self.helped[worker], self.queue[worker] = set(), []
        self._doom(worker)
        self.fresh = True

    def _outcome(self) -> Outcome:
        bound = max(self.cells.work / self.speed.sum(), self.cells.piece / self.speed.max())
        times, counts = (np.array(column) for column in zip(*self.history))
        minutes = np.interp(np.arange(0, self.now + 60, 60.0), times, counts)
        return Outcome(
            self.now / HOUR, bound / HOUR, self.deaths, self.lost / HOUR, self.longest / HOUR, self.failed,
            self.total_ops / self.now, float(np.diff(minutes).max()) / 60, self.total_bytes / self.now, self.most_disk,
            tuple(self.spent / self.total_ops),
        )  # fmt: skip


def _tries(taken: np.ndarray, over: np.ndarray, head: np.ndarray) -> float:
    """How often a walk asks for cells that others are at. After each of those that are ``over`` it begins again, with
    the cells of that one's head."""
    before = np.cumsum(taken)
    first = np.concatenate(([True], np.diff(head[over]) > 0))[: len(over)]
    ahead = np.concatenate(([0], before))[np.searchsorted(head, head[over])]  # of the head of each
    return float((before[over] - ahead).sum() + ahead[first].sum() + before[-1])


def simulate(cells: Cells, setting: Setting) -> Outcome:
    """One run."""
    return Simulation(cells, setting).run()


ACTIVITIES = {WALK: "walks", FEATURES: "features", FITTING: "heads", ATTACK: "batches"}
WORKERS, MANY = (1, 8, 32, 64, 128, 256, 512, 1024), 256
LARGER = WORKERS[3:]  # where it makes a difference
LOOKING = {"reads": 0.0}  # helpers that look whether a batch is there, and do not read it
LIGHT = {**LOOKING, "again": False, "listed": 0}  # and walks that list what is done, heads that list no features
CASES: dict[str, dict[str, float]] = {
    "a failure every 1,000 h of a GPU": {"mtbf": 1000},
    "every 300 h": {"mtbf": 300},
    "every 100 h": {"mtbf": 100},
    "cells are not shared": {"share": False},
    "all GPUs equally fast": {"spread": 0, "slow": 0},
    "a file system of 5 ms, 5,000 operations and 2 GB a second": {"latency": 5e-3, "most": 5_000, "server": 2e9},
    "helpers do not read what is done, a failure every 100 h": {**LOOKING, "mtbf": 100},
    "they do not read it, on that slower file system": {**LOOKING, "latency": 5e-3, "most": 5_000, "server": 2e9},
    "walks and heads list less, too, and jobs have a time limit of 4 h": {**LIGHT, "limit": 4},
}


def _simulated(asked: tuple[Setting, str]) -> Outcome:
    return simulate(cells(first=asked[1]), asked[0])


def _row(name: object, found: Outcome) -> str:
    each = [
        f"{found.hours:,.1f}", f"{found.hours / found.bound:.2f}", f"{found.deaths:,}", f"{found.lost:.2f}",
        str(found.failed), f"{found.operations:,.0f}", f"{found.peak:,.0f}", f"{found.bytes / 1e9:.2f}",
        f"{found.disk / 1e12:.1f}",
    ]  # fmt: skip
    return f"| {name} | {' | '.join(each)} |"


def _activities(found: Outcome) -> str:
    shares = {name: found.spent[what] for what, name in ACTIVITIES.items()}
    shares["polls, signs of life, the launcher"] = 1 - sum(shares.values())
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items())


HEADER = "hours | over the bound | deaths | GPU hours lost | cells failed | operations a second | in the busiest minute"
HEADER += " | GB a second | TB of images at a time |"


def _table(first: str, rows: Mapping[Any, Outcome]) -> str:
    lines = [f"| {first} | {HEADER}", f"| --- {'| ---: ' * HEADER.count('|')}|"]
    return "\n".join([*lines, *(_row(name, found) for name, found in rows.items())])


def _draw(path: Path, found: Mapping[str, Mapping[int, Outcome]], most: float) -> None:
    """Two panels over the number of workers: how long it takes, and what the file system is asked for."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "brittle", "font.size": 9})
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    figure.set_facecolor("white")
    for (name, rows), colour in zip(found.items(), ("#b5402f", "#2f6fb5", "#3d8b4f")):
        left.plot(list(rows), [row.hours / row.bound for row in rows.values()], "o-", color=colour, label=name)
        right.plot(list(rows), [row.operations for row in rows.values()], "o-", color=colour, label=name)
    left.axhline(1, color="#666666", linestyle="--", label="bound")
    right.axhline(most, color="#666666", linestyle="--", label="most that the server does")
    for axes, title in ((left, "Time over the bound"), (right, "File operations a second, on average")):
        axes.set(
            xscale="log", yscale="log" if axes is right else "linear", xticks=WORKERS, xlabel="workers, a GPU each"
        )
        axes.set_xticks([], minor=True)
        axes.set_xticklabels(map(str, WORKERS))
        axes.set_title(title, fontsize=10, loc="left")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def main(
    seed: Annotated[int, typer.Option(help="Of speeds and failures.")] = 0,
    plot: Annotated[Path, typer.Option(help="Where to draw.")] = Path("docs/images/scale.svg"),
) -> None:
    """Simulate, print and draw."""
    base = Setting(MANY, seed=seed)
    asked = [(replace(base, workers=count), "cheap") for count in WORKERS]
    asked += [(replace(base, workers=count, **LOOKING), "cheap") for count in LARGER]
    asked += [(replace(base, workers=count, **LIGHT), "cheap") for count in LARGER]
    asked += [*((replace(base, **case), "cheap") for case in CASES.values()), (base, "dear")]
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(_simulated, asked))
    today, rest = dict(zip(WORKERS, found)), found[len(WORKERS) :]
    looking, rest = dict(zip(LARGER, rest)), rest[len(LARGER) :]
    light, others = dict(zip(LARGER, rest)), rest[len(LARGER) :]
    whole = cells()
    typer.echo(
        f"{len(whole):,} cells, {whole.work / HOUR:,.0f} GPU hours; the longest piece {whole.piece / HOUR:.2f} h\n"
    )
    typer.echo(f"{_table('workers, as it was first', today)}\n")
    typer.echo(f"{_table('workers, helpers do not read', looking)}\n")
    typer.echo(f"{_table('workers, and walks and heads list less', light)}\n")
    typer.echo(_table(f"{MANY} workers", dict(zip([*CASES, "dear encoders first in the plan"], others))))
    typer.echo(f"\nOperations of {MANY} workers: {_activities(today[MANY])}")
    plot.parent.mkdir(parents=True, exist_ok=True)
    _draw(
        plot,
        {"as it was first": today, "helpers do not read": looking, "and walks and heads list less": light},
        base.most,
    )


if __name__ == "__main__":
    typer.run(main)
