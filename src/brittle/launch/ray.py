"""Workers on a Ray cluster, or on a Ray that is started here; needs the extra ``ray``."""

import logging
import os
import subprocess
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when it is imported: nothing is reported to anybody
import ray as engine  # noqa: E402

from brittle.core.components import AtLeastOne, Count  # noqa: E402
from brittle.core.errors import BrittleError, UsageError  # noqa: E402
from brittle.launch.parts.cell import ATTEMPTS, Work  # noqa: E402
from brittle.launch.parts.crew import command, cores, told  # noqa: E402
from brittle.results.journal import Tail  # noqa: E402

LOOK = 0.5  # seconds between two looks at what workers say


def ray(work: Work, /, *, devices: AtLeastOne = 1, gpus: Count = 0, cpus: AtLeastOne = 1, address: str = "") -> None:
    """Measure the cells that are to be done. Results are read from the run folder, which all nodes must see, and never
    from Ray; a worker that dies is started again, twice at most.

    Args:
        devices: how many workers.
        gpus, cpus: of each; which GPUs it sees is for Ray to say.
        address: of a cluster, such as ``auto`` for the one of this machine; empty to start Ray here, without a
            dashboard and for this machine alone.

    Raises:
        UsageError: there is no cluster of that address, or it has no room for a single worker.
        BrittleError: workers end before the cells are done.
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
        task = engine.remote(num_cpus=cpus, num_gpus=gpus, max_retries=ATTEMPTS - 1, retry_exceptions=True)(_worker)
        _watch(work, [task.remote(command(work, "auto"), cpus) for _ in range(min(devices, len(work.cells)))])
    finally:
        engine.shutdown()


def _watch(work: Work, refs: Sequence[Any]) -> None:
    """Say here what workers say until all have ended."""
    tail, waiting = Tail(work.store.root), list(refs)
    while waiting:
        _, waiting = engine.wait(waiting, num_returns=len(waiting), timeout=LOOK)
        told(tail)
    left = [name for name in work.cells if not work.finished(name)]
    if left:
        why = ""
        try:
            engine.get(list(refs))
        except Exception as error:  # noqa: BLE001 - whatever it was that ended a worker
            why = f": {' '.join(str(error).split())[-200:]}"
        raise BrittleError(f"workers ended with {len(left)} cells left{why}")


def _worker(words: Sequence[str], threads: int) -> None:
    """A worker, which ends when Ray's own process does."""
    surroundings = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with subprocess.Popen([*words, "--tied"], stdin=subprocess.PIPE, env=surroundings) as process:
        code = process.wait()
    if code:
        raise BrittleError(f"a worker ended with code {code}")
