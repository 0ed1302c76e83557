"""Many processes, many kills, and every write of a run failed once: counts that a test of every day has no time for.

    PYTHONPATH=tests:tests/faults python tests/faults/long.py                 # 300 cells, 200 kills, all writes
    PYTHONPATH=tests:tests/faults python tests/faults/long.py --kills 1000

Prints a line for each and ends with 1 where something was lost, done twice or damaged. ``test_long.py`` does the same
in small numbers.
"""

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import torch
import typer

from bitwise import differing
from brittle.core import components, progress
from brittle.core.records import Cell
from brittle.evaluation import attacking
from brittle.evaluation.machine import Machine
from brittle.launch.parts import worker
from brittle.launch.parts.cell import Work
from brittle.launch.parts.worker import spoken, work_off
from brittle.planning.identity import resolve
from brittle.results.attempts import forget
from brittle.results.journal import Tail
from brittle.results.store import Store

DATA = components.canonical("datasets", "scenes(train=64, val=32, test=32, size=8)")
ENSEMBLES = (
    ("classification(head=knn)", "worst(attacks=['pgd(steps=4)', 'embed(steps=4)', 'noise'])"),
    ("classification(head=knn)", "pgd(steps=12)"),
    ("segmentation", "sea(steps=2)"),
    ("depth", "depth_worst(steps=2)"),
)
FAILING: Mapping[str, tuple[Any, str]] = {"write": (os, "fdopen"), "fsync": (os, "fsync"), "rename": (Path, "replace")}


def cell(task: str, attack: str | None, seed: int = 0) -> Cell:
    eps, norm = (8 / 255, "linf") if attack else (None, None)
    return Cell("pixels(size=8)", DATA, task, attack, eps, norm, seed, 4, "standard(heads=quick)")


def work_of(cells: Sequence[Cell], folder: Path, large: bool = False) -> Work:
    """Work that several are at, in batches of two images, each of which is worth being written down."""
    named = {resolve(each).id: each for each in cells}
    machine = Machine(batch_size=2, alone=False)
    return Work(named, Store(folder), machine, "none", dict.fromkeys(named, 1e9 * large), [*named])


def done(work: Work) -> None:
    with spoken(work, echo=False):
        work_off(work)


def fork(body: Callable[[], object]) -> int:
    """A copy of this process that does something and ends; its number."""
    child = os.fork()
    if not child:
        code = 1
        try:
            torch.set_num_threads(1)
            body()
            code = 0
        finally:
            os._exit(code)
    return child


def together(root: Path, processes: int, count: int) -> tuple[int, int]:
    """So many processes at so many cells: how many were not done just once, and how many are damaged."""
    work = work_of([cell("classification(head=knn)", "noise", seed) for seed in range(count)], root)
    children = [fork(lambda: done(work)) for _ in range(processes)]
    codes = [os.waitpid(child, 0)[1] for child in children]
    times = Counter(values[0] for _, _, what, values in Tail(root, past=True) if what == "finished" and values[1])
    wrong = sum(times[name] != 1 for name in work.cells) + sum(code != 0 for code in codes)
    return wrong, sum(work.store.get(name) is None for name in work.cells)


def killed(root: Path, kills: int, seed: int = 0) -> tuple[int, int, int]:
    """So many kills at random moments of runs with ensembles and shared cells: how many there were in the middle of
    work, how many finished cells were lost or done again, and how many are damaged or differ from those of a run that
    nobody disturbed."""
    cells, chance = [cell(*pair) for pair in ENSEMBLES], random.Random(seed)
    straight = work_of(cells, root / "straight")
    began = time.monotonic()
    done(straight)
    longest = max(0.2, time.monotonic() - began)
    count, again, wrong, rounds = 0, 0, 0, 0
    while count < kills:
        work = work_of(cells, root / f"round{rounds}", large=True)
        rounds += 1
        finished: dict[str, int] = {}
        while len(finished) < len(cells):
            forget(work.store.root, list(work.cells))  # each time as a run that is started again
            children = [fork(lambda: done(work)) for _ in range(2)]
            time.sleep(chance.uniform(0, longest / 4))
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                count += os.WIFSIGNALED(os.waitpid(child, 0)[1])
            now = {path.stem: path.stat().st_mtime_ns for path in (work.store.root / "results").glob("[!.]*.json")}
            again += sum(now.get(name) != at for name, at in finished.items())
            finished = now
        wrong += len(differing(straight.store, work.store, [*work.cells]))
        wrong += len(list((work.store.root / "quarantine").glob("*")))
    return count, again, wrong


@contextmanager
def failing(what: str, number: int) -> Generator[list[int]]:
    """Inside, call ``number`` of one kind fails as on a broken disk; how many calls there were."""
    holder, name = FAILING[what]
    real, calls = getattr(holder, name), [0]

    def call(*arguments: object, **keywords: object) -> object:
        calls[0] += 1
        if calls[0] == number:
            raise OSError(5, "Input/output error")
        return real(*arguments, **keywords)

    with mock.patch.object(holder, name, call):
        yield calls


def failed(root: Path, what: str, every: int = 1) -> tuple[int, int]:
    """A run of four cells with its first write failed, then with its second, and so on, each finished by another run:
    how many runs there were, and how many cells are damaged or differ."""
    cells = [cell(*pair) for pair in ENSEMBLES]
    straight = work_of(cells, root / f"{what}-straight")
    done(straight)
    runs, wrong = 0, 0
    for number in _numbers(every):
        work = work_of(cells, root / f"{what}{number}")
        with failing(what, number) as calls, suppress(OSError):
            done(work)
        runs += 1
        forget(work.store.root, list(work.cells))
        done(work)
        wrong += len(differing(straight.store, work.store, [*work.cells]))
        if calls[0] < number:
            return runs, wrong
    return runs, wrong


def _numbers(every: int) -> Iterator[int]:
    number = 1
    while True:
        yield number
        number += every


def main(
    processes: Annotated[int, typer.Option(help="Workers at once.")] = 4,
    cells: Annotated[int, typer.Option(help="Cells that they share.")] = 300,
    kills: Annotated[int, typer.Option(help="Kills at random moments.")] = 200,
    every: Annotated[int, typer.Option(help="Fail every n-th write of a run.")] = 1,
) -> None:
    """Count and print."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["BRITTLE_CACHE"] = f"{place}/cache"
        root, progress.quiet, worker.POLL, attacking.COSTLY = Path(place), True, 0.05, 0.0
        torch.set_num_threads(1)
        twice, damaged = together(root / "many", processes, cells)
        typer.echo(f"{processes} workers at {cells} cells: {twice} not done just once, {damaged} damaged")
        count, again, wrong = killed(root / "kills", kills)
        typer.echo(f"{count} kills: {again} finished cells lost or done again, {wrong} damaged or different")
        bad = twice + damaged + again + wrong
        for what in FAILING:
            runs, wrong = failed(root / "failing", what, every)
            bad += wrong
            typer.echo(f"each {what} of a run of 4 cells failed once, {runs} runs: {wrong} damaged or different")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    typer.run(main)
