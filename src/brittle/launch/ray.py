"""Workers on a Ray cluster, or on a Ray that is started here; needs the extra ``ray``."""

import logging
import os
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when it is imported: nothing is reported to anybody
import ray as engine  # noqa: E402

from brittle.core import progress  # noqa: E402
from brittle.core.errors import BrittleError, UsageError  # noqa: E402
from brittle.core.settings import AtLeastOne, Count  # noqa: E402
from brittle.launch.parts.cell import ATTEMPTS, Work  # noqa: E402
from brittle.launch.parts.crew import command, cores, told  # noqa: E402
from brittle.results.journal import Tail  # noqa: E402

LOOK = 0.5  # seconds between two looks at what workers say


def ray(work: Work, /, *, devices: AtLeastOne = 1, gpus: Count = 0, cpus: AtLeastOne = 1, address: str = "") -> None:
    """Measure the cells that are to be done. Results are read from the run folder, which all nodes must see, and never
    from Ray; a worker that dies is replaced as long as that may help.

    Args:
        devices: how many workers.
        gpus, cpus: of each; which GPUs it sees is for Ray to say.
        address: of a cluster, such as ``auto`` for the one of this machine; empty to start Ray here, without a
            dashboard and for this machine alone.

    Raises:
        UsageError: there is no cluster of that address, or it has no room for a single worker.
        BrittleError: workers end before they get anything done.
    """
    started: dict[str, Any] = {"num_cpus": cores(), "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        engine.init(
            address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else started)
        )
    except (ConnectionError, ValueError) as error:
        raise UsageError(f"no Ray at {address!r}: {' '.join(str(error).split())[:200]}") from None
    try:
        there = engine.cluster_resources()
        if there.get("CPU", 0) < cpus or there.get("GPU", 0) < gpus:
            had = f"{there.get('CPU', 0):g} cores and {there.get('GPU', 0):g} GPUs"
            raise UsageError(f"ray(cpus={cpus}, gpus={gpus}): there are {had}")
        task = engine.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_worker)  # who replaces it is said in _watch
        words = command(work, "auto")
        _watch(work, lambda: task.remote(words, cpus), min(devices, len(work.cells)))
    finally:
        engine.shutdown()


def _watch(work: Work, start: Callable[[], Any], count: int) -> None:
    """Say here what so many workers say until each has come to its end, and put another in the place of one that
    dies."""
    tail, team, deaths = Tail(work.store.root), [start() for _ in range(count)], 0
    while team:
        ended, team = engine.wait(team, num_returns=len(team), timeout=LOOK)
        deaths = 0 if told(tail) else deaths
        for why in filter(None, map(_why, ended)):
            deaths += 1
            if deaths > ATTEMPTS * count:
                raise BrittleError(f"a worker died again and again: {why}")
            progress.say(f"warning: a worker died ({why}); another takes its place", always=True)
            team.append(start())


def _why(ref: Any) -> str:
    """What ended a worker before its work was done; empty where nothing did."""
    try:
        engine.get(ref)
    except Exception as error:  # noqa: BLE001 - the worker's own, or of Ray where its process or node is gone
        return " ".join(str(error).split())[-200:] or type(error).__name__
    return ""


def _worker(words: Sequence[str], threads: int) -> None:
    """A worker, which ends when Ray's own process does."""
    surroundings = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with subprocess.Popen([*words, "--tied"], stdin=subprocess.PIPE, env=surroundings) as process:
        code = process.wait()
    if code:
        raise BrittleError(f"a worker ended with code {code}")
