"""A worker: takes one cell after the other that nobody is at, until nothing is left, whoever else does the same."""

import time
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager

from brittle.core import progress
from brittle.launch.parts.cell import Work, assist_cell, run_cell
from brittle.results.journal import Journal

AGAIN = 30.0  # seconds for which a cell that another is at is passed over while there are others
POLL = 1.0  # seconds until a worker with nothing to do looks again


@contextmanager
def spoken(work: Work, echo: bool) -> Generator[None]:
    """Inside, what this process says and does stands in a journal of the run folder; with an ``echo`` here too."""
    with Journal(work.store.root, work.machine.device) as journal:
        before = progress.relay, progress.echo
        progress.relay, progress.echo = journal, echo
        try:
            yield
        finally:
            progress.relay, progress.echo = before


def work_off(work: Work) -> None:
    """Measure the cells of a work that are left. Of a worker that is not alone: until the others have finished theirs
    too, so that what a dead one leaves is taken up, and help with large ones meanwhile."""
    left, last, helped = dict.fromkeys(work.cells), "", set[str]()
    met, before, by_others = dict[str, float](), work.store.written(), set[str]()
    while left:
        if not work.machine.alone:
            by_others |= (work.store.written() - before) & left.keys()
            left = {name: None for name in left if name not in by_others}
        busy: list[str] = []
        for name in _in_turn(work, left, last, met):
            if run_cell(work, name) != "busy":
                del left[name]
                last = name
                break
            busy.append(name)
            met[name] = time.monotonic()
        else:
            for name in [name for name in left if work.finished(name)]:
                del left[name]
            made = {name: assist_cell(work, name) for name in busy if name in left and name not in helped}
            helped.update(name for name, count in made.items() if count == 0)  # nothing of it was left to be taken
            if left and not any(made.values()):
                time.sleep(POLL)
        if not left:  # only now read, each once: what others have written down may be damaged, or lack evidence
            left = {name: None for name in work.cells if name in by_others and not work.finished(name)}
            before |= by_others
            by_others.clear()


def _in_turn(work: Work, left: Collection[str], last: str, met: Mapping[str, float]) -> Iterator[str]:
    """The cells that may begin: of one worker alone as they come; else those of the same head as the last one first,
    then those of the heads by turns of encoders, so that two workers seldom need the same features. Of one head the
    clean cell is the first, as it shows whether the head is sound, then the longest, so that short ones are left for
    the end. Those that were ``met`` lately with another at them, by when that was, are asked for last."""
    ready = (name for name in left if work.earlier.get(name) not in left)
    if work.machine.alone:
        return ready
    turns, head = work.turns, work.head(last) if last else ()
    costs, now = work.costs, time.monotonic()

    def order(name: str) -> tuple[bool, bool, int, bool, float]:
        cost = costs.get(name, 0.0)
        lately = now - met.get(name, -AGAIN) < AGAIN
        return lately, work.head(name) != head, turns[work.head(name)], cost > 0, -cost

    return iter(sorted(ready, key=order))
