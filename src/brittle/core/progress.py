"""Progress on stderr: a bar with rate and remaining time on a terminal, a plain line now and then elsewhere, nothing
when quiet."""

import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

from brittle.core.text import plain

LINE_EVERY = 10.0  # seconds between plain lines

quiet = False
_bars: list[object] = []  # the one live display, while any bar is open
_last_line = time.monotonic()  # of all work together, so that many short pieces speak as seldom as one long one


@contextmanager
def progress(what: str, total: int, unit: str = "images", done: int = 0) -> Generator[Callable[..., None]]:
    """``with progress("attacking", 100) as advance: advance(8, "accuracy 0.41")``.

    Args:
        what: what is being done.
        total: how many units there are, ``done`` of which were done before.
    """
    if quiet:
        yield lambda _count, _note="": None
    elif sys.stderr.isatty():
        yield from _bar(what, total, unit, done)
    else:
        yield from _lines(what, total, unit, done)


def say(text: str, *, always: bool = False) -> None:
    """One line on stderr; ``always`` for what explains a result, which is said even when quiet."""
    if quiet and not always:
        return
    if _bars:
        _bars[0].console.print(plain(text), highlight=False, markup=False)  # type: ignore[attr-defined]
    else:
        print(plain(text), file=sys.stderr, flush=True)


def _bar(what: str, total: int, unit: str, done: int) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    if not _bars:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn(
                "{task.completed:.0f}/{task.total:.0f} {task.fields[unit]} {task.fields[rate]} {task.fields[note]}",
                markup=False,
            ),
            TimeRemainingColumn(compact=True),
        )
        _bars.append(Progress(*columns, console=Console(stderr=True), transient=True))
    live = _bars[0]
    assert isinstance(live, Progress)
    live.start()
    task = live.add_task(plain(what), total=total, completed=done, unit=unit, rate="", note="")
    began, seen = time.monotonic(), 0

    def advance(count: int, note: str = "") -> None:
        nonlocal seen
        seen += count
        rate = f"{seen / max(time.monotonic() - began, 1e-9):.0f}/s"
        live.update(task, advance=count, rate=rate, note=note)

    try:
        yield advance
    finally:
        live.remove_task(task)
        if not live.tasks:
            live.stop()
            _bars.clear()


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
            say(f"{what} {done + seen}/{total} {unit}, {rate:.1f}/s, {left:.0f} s left {note}".rstrip())

    yield advance
