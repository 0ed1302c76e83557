"""Workers on a SLURM cluster: one array of jobs, each a worker, started by submitit; needs the extra ``slurm``."""

import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

import submitit
from submitit.core.utils import FailedJobError

from brittle.core import progress
from brittle.core.errors import BrittleError, UsageError
from brittle.core.settings import AtLeastOne, Count
from brittle.launch.parts.cell import ATTEMPTS, Work
from brittle.launch.parts.crew import command, told
from brittle.results.journal import Tail

LOOK = 1.0  # seconds between two looks at what workers say


def slurm(
    work: Work,
    /,
    *,
    devices: AtLeastOne = 1,
    gpus: Count = 0,
    cpus: AtLeastOne = 4,
    memory: Count = 0,
    minutes: AtLeastOne = 240,
    partition: str = "",
    account: str = "",
    cluster: Literal["slurm", "local"] = "slurm",
) -> None:
    """Measure the cells that are to be done. Results are read from the run folder, which all nodes must see, and never
    from the jobs: one that reaches its time limit is queued again and goes on, and what a node that fails leaves is
    taken up by the others.

    Args:
        devices: how many jobs.
        gpus, cpus: of each job.
        memory: of each job, in gigabytes; 0 for what the cluster gives by itself.
        minutes: time limit of a job.
        partition, account: of the cluster; empty for its own.
        cluster: ``local`` starts the jobs on this machine in place of SLURM, to try it out.

    Raises:
        UsageError: there is no SLURM here, or it takes no such jobs.
        BrittleError: jobs end again and again with nothing done.
    """
    folder = work.store.root / "workers" / "jobs"
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    except RuntimeError as error:
        raise UsageError(f"no SLURM here ({error}); start workers by hand: brittle work {work.store.root}") from None
    wanted: dict[str, Any] = {"timeout_min": minutes, "cpus_per_task": cpus, "gpus_per_node": gpus, "name": "brittle"}
    wanted |= {"mem_gb": memory} if memory else {}
    wanted |= {f"slurm_{key}": each for key, each in (("partition", partition), ("account", account)) if each}
    if cluster == "local":
        del wanted["gpus_per_node"]  # which only a cluster hands out
    executor.update_parameters(**wanted)
    tail, left, idle = Tail(work.store.root), list(work.cells), 0
    while left:
        try:
            jobs = executor.submit_array([_Worker(command(work, "auto"))] * min(devices, len(left)))
        except FailedJobError as error:
            raise UsageError(f"SLURM takes no such jobs: {' '.join(str(error).split())[:300]}") from None
        _watch(jobs, tail)
        before, left = len(left), [name for name in left if not work.finished(name)]
        idle = 0 if len(left) < before else idle + 1
        if idle > ATTEMPTS:  # once more than a cell is tried, so that one which ends its workers has failed by then
            raise BrittleError(f"jobs ended {idle} times in a row with no cell done; {folder} says why")
        if left:
            progress.say(f"warning: all jobs ended with {len(left)} cells left; {folder} says why", always=True)


def _watch(jobs: Sequence[submitit.Job[int]], tail: Tail) -> None:
    """Say here what workers say until the jobs have ended, and cancel them if that is stopped."""
    try:
        while not all(job.done() for job in jobs):
            told(tail)
            time.sleep(LOOK)
        told(tail)
    except BaseException:
        for job in jobs:
            with suppress(Exception):  # one that has ended meanwhile
                job.cancel()
        raise


class _Worker:
    """What a job runs: a worker, which ends when the job does; queued again at the time limit."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words

    def __call__(self) -> int:
        with subprocess.Popen([*self.words, "--tied"], stdin=subprocess.PIPE) as process:
            code = process.wait()
        if code:
            raise BrittleError(f"a worker ended with code {code}")
        return code

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """The same again: what it did is in the run folder."""
        return submitit.helpers.DelayedSubmission(self)
