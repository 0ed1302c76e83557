"""Progress on stderr: on a terminal one bar for a whole run and below it what is being done, elsewhere a plain line now
and then; nothing when quiet."""

import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from textwrap import shorten
from typing import Any

from brittle.core.text import folded, plain, tinted

LINE_EVERY = 10.0  # seconds between plain lines
BAR = 24  # characters
TINTS = {r"\A(failed|missing|lacks)\b|(?<=[\d\]]) !$": "red", r"\Awarning\b|(?<=[\d\]]) \?$": "yellow"}

quiet = False
relay: Callable[..., None] | None = None
"""Where a worker hands on what it says and does, as (``say``, ``finished`` or ``doing``, *values)."""
echo = True
"""Whether it is said here too."""
_bars: list[object] = []  # the one live display, while any bar is open
_runs: list["_Run"] = []  # the run that cells belong to, while there is one
_told: list[
    Callable[[], None]
] = []  # what says of each piece of work that is open how far it is, to where it is handed on
_last_line = time.monotonic()  # of all work together, so that many short pieces speak as seldom as one long one


@contextmanager
def progress(what: str, total: int, unit: str = "images", done: int = 0) -> Generator[Callable[..., None]]:
    """``with progress("attacking", 100) as advance: advance(8, "accuracy 0.41")``.

    Args:
        what: what is being done.
        total: how many units there are, ``done`` of which were done before.
    """
    if quiet or (relay and not echo):
        shown = _silently()
    else:
        shown = (_bar if sys.stderr.isatty() else _lines)(what, total, unit, done)
    yield from _relayed(shown, relay, what, total, unit, done) if relay else shown


@contextmanager
def whole(costs: Mapping[str, float]) -> Generator[None]:
    """Around the pieces of one run, each of which says when it is ``finished``; how long the rest takes goes by what
    those so far took.

    Args:
        costs: of each piece, in any unit; those of cost 0 take each as long as another.
    """
    run = _Run(costs)
    _runs.append(run)
    try:
        if quiet or not sys.stderr.isatty():
            yield
        else:
            with _display() as live:
                task = live.add_task("", total=len(costs), run=run)
                try:
                    yield
                finally:
                    live.remove_task(task)
    finally:
        _runs.remove(run)


def finished(name: str, line: str = "") -> None:
    """A piece of the run is done; ``line`` says what came of it."""
    if relay:
        relay("finished", name, line)
    if line and (echo or not relay):
        _say(line)
    for run in _runs[-1:]:
        run.finish(name)


class _Run:
    """How far a run is."""

    def __init__(self, costs: Mapping[str, float]) -> None:
        self.left, self.total = dict(costs), len(costs)
        self.began = time.monotonic()
        self.spent: dict[bool, list[float]] = {
            True: [0.0, 0.0],
            False: [0.0, 0.0],
        }  # seconds and cost, by whether it has one

    def finish(self, name: str) -> None:
        now = time.monotonic()
        cost = self.left.pop(name, None)
        if cost is not None:
            spent = self.spent[cost > 0]
            spent[0], spent[1] = spent[0] + now - self.began, spent[1] + (cost or 1)
        self.began = now

    @property
    def done(self) -> int:
        return self.total - len(self.left)

    def __str__(self) -> str:
        """``3/20 cells, 4 min left``; without the time until there is something to go by."""
        rates = {costly: took / cost for costly, (took, cost) in self.spent.items() if cost}
        said = f"{self.done}/{self.total} cells"
        if not self.left or any((cost > 0) not in rates for cost in self.left.values()):
            return said
        now, *then = [rates[cost > 0] * (cost or 1) for cost in self.left.values()]
        # what takes longer than it was reckoned to does not make those after it shorter
        return f"{said}, {duration(max(0.0, now - (time.monotonic() - self.began)) + sum(then))} left"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def say(text: str, always: bool = False) -> None:
    """One line on stderr; ``always`` for what explains a result, which is said even when quiet."""
    if relay:
        relay("say", text, always)
    if not relay or echo:
        _say(text, always)


def _say(text: str, always: bool = False) -> None:
    if quiet and not always:
        return
    text = tinted(folded(plain(text), sys.stderr), TINTS, sys.stderr)
    if _bars:
        from rich.text import Text

        _bars[0].console.print(Text.from_ansi(text), highlight=False, markup=False)  # type: ignore[attr-defined]
    else:
        print(text, file=sys.stderr, flush=True)


@contextmanager
def _display() -> Generator[Any]:
    """The live display, which is there until the last line of it is gone."""
    from rich.console import Console
    from rich.progress import Progress
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    class Display(Progress):
        """A bar for the run, or for what is done where there is no run; no word is cut."""

        def get_renderables(self) -> Iterator[Any]:
            with_bar = [task for task in self.tasks if "run" in task.fields or not _runs]
            for task in self.tasks:
                width = self.console.width - (BAR + 1 if task in with_bar else 2)
                row = Table.grid(padding=(0, 1, 0, 0))
                if "run" in task.fields:
                    run: _Run = task.fields["run"]
                    row.add_row(ProgressBar(run.total, run.done, width=BAR), Text(str(run)))
                elif task in with_bar:
                    row.add_row(ProgressBar(task.total, task.completed, width=BAR), Text(_fitted(task, width)))
                else:
                    row.add_row("", Text(_fitted(task, width)))
                yield row

    if not _bars:
        _bars.append(Display(console=Console(stderr=True), transient=True))
    live = _bars[0]
    assert isinstance(live, Progress)
    live.start()
    try:
        yield live
    finally:
        if not live.tasks:
            live.stop()
            _bars.clear()


def _fitted(task: Any, width: int) -> str:
    """What is being done and how far it is, in so many characters: of a cell's name the end is left, of other text the
    beginning."""
    count = f"{task.completed:.0f}/{task.total:.0f} {task.fields['unit']}"
    tail = " ".join(filter(None, [count, task.fields["rate"], task.fields["note"]]))
    if task.time_remaining is not None and not _runs:
        tail += f", {duration(task.time_remaining)} left"
    parts = task.description.split(" / ")
    room = width - len(tail) - 1
    while len(parts) > 1 and len(" / ".join(parts)) > room:
        parts = parts[2:] if parts[0] == "…" else parts[1:]
        parts = ["…", *parts] if len(parts) > 1 else parts
    return f"{shorten(' / '.join(parts), max(room, 2), placeholder=' …')} {tail}"


def _bar(what: str, total: int, unit: str, done: int) -> Iterator[Callable[..., None]]:
    with _display() as live:
        task = live.add_task(plain(what), total=total, completed=done, unit=unit, rate="", note="")
        began, seen = time.monotonic(), 0

        def advance(count: int, note: str = "") -> None:
            nonlocal seen
            seen += count
            rate = f"{seen / max(time.monotonic() - began, 1e-9):.0f}/s"
            live.update(task, advance=count, rate=rate, note=plain(note))

        try:
            yield advance
        finally:
            live.remove_task(task)


def _silently() -> Iterator[Callable[..., None]]:
    yield lambda _count, _note="": None


def _relayed(
    shown: Iterator[Callable[..., None]], to: Callable[..., None], what: str, total: int, unit: str, done: int
) -> Iterator[Callable[..., None]]:
    for inner in shown:
        seen = done

        def told() -> None:
            to("doing", what, seen, total, unit)

        def advance(count: int, note: str = "", inner: Callable[..., None] = inner) -> None:
            nonlocal seen
            seen += count
            told()
            inner(count, note)

        told()
        _told.append(told)
        try:
            yield advance
        finally:
            _told.remove(told)
            for outer in _told[-1:]:  # which goes on
                outer()


def _lines(what: str, total: int, unit: str, done: int) -> Iterator[Callable[..., None]]:
    began, seen = time.monotonic(), 0

    def advance(count: int, note: str = "") -> None:
        global _last_line
        nonlocal seen
        seen += count
        now = time.monotonic()
        if now - _last_line >= LINE_EVERY:
            _last_line = now
            rate = seen / (now - began)
            left = (total - done - seen) / max(rate, 1e-9)
            run = f"; {_runs[-1]}" if _runs else ""
            say(f"{what} {done + seen}/{total} {unit}, {rate:.1f}/s, {left:.0f} s left {note}".rstrip() + run)

    yield advance
