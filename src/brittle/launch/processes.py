"""Cells in several processes of this machine, for its CPU: those of one head stay together, and the cores are shared
out."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import Any

import torch

from brittle.core import progress
from brittle.core.errors import UsageError
from brittle.launch.parts.cell import Work, run_cell


def processes(work: Work, /) -> int:
    """Measure the cells that are to be done; what is left where a process was killed, in this one.

    Returns:
        How many failed.

    Raises:
        UsageError: the device is no CPU.
    """
    if work.machine.device != "cpu":
        raise UsageError(f"executor processes: is for the CPU, not for {work.machine.device}; take local")
    groups = _groups(work)
    count = min(len(groups), _cores())
    if count < 2:
        return _measured(work, list(work.cells))
    try:
        with _pool(count) as pool:
            with _uninterrupted():
                failed = pool.map(partial(_measured, work), groups)
            return sum(failed)
    except BrokenProcessPool:
        what = "one of the processes was killed, as happens when memory runs out"
        progress.say(f"warning: {what}; what is left is measured one after the other", always=True)
        return _measured(work, list(work.cells))


def _groups(work: Work) -> list[list[str]]:
    """The cells of each head, those of the encoders by turns, so that two processes seldom wait for the same features;
    heads keep the order that they have within an encoder."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, cell in work.cells.items():
        groups.setdefault((cell.encoder, cell.dataset, cell.seed, cell.task), []).append(name)
    encoders = [head[0] for head in groups]
    turns = [encoders[:place].count(encoder) for place, encoder in enumerate(encoders)]
    return [group for _, group in sorted(zip(turns, groups.values()), key=lambda each: each[0])]


def _measured(work: Work, names: list[str]) -> int:
    return sum(not run_cell(work, name) for name in names)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _pool(count: int) -> Generator[ProcessPoolExecutor]:
    """New processes, which do not share the threads of this one; what they say is said here."""
    context = multiprocessing.get_context("spawn")
    said: Any = context.Queue()
    listener = Thread(target=_listen, args=(said.get,), daemon=True)
    listener.start()
    with ProcessPoolExecutor(count, context, _begin, (said.put, max(1, _cores() // count))) as pool:
        try:
            yield pool
        except BaseException:  # stopped, or one of them was killed: nothing is ever half written
            for process in multiprocessing.active_children():
                process.kill()
            raise
    said.put(None)  # never after one was killed, which may have held the queue's lock
    listener.join()


@contextmanager
def _uninterrupted() -> Generator[None]:
    """Processes started inside never see a Ctrl-C, not even while they import: this one ends them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _listen(get: Callable[[], tuple[str, tuple[Any, ...]] | None]) -> None:
    for what, values in iter(get, None):
        getattr(progress, what)(*values)


def _begin(put: Callable[[object], None], threads: int) -> None:
    """What a process of the pool does first."""
    torch.set_num_threads(threads)
    progress.relay = lambda what, *values: put((what, values))
    parent = multiprocessing.parent_process()
    assert parent is not None
    Thread(target=lambda: (parent.join(), os._exit(143)), daemon=True).start()
