"""Workers that a launcher has started: what they say is said here, those that die are replaced, and none is left
behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from brittle.core import progress
from brittle.core.errors import BrittleError
from brittle.launch.parts.cell import ATTEMPTS, Work
from brittle.results.journal import Tail

LOOK = 0.2  # seconds between two looks at what workers say
TOGETHER = ("say", "finished")  # what is said here as there


def command(work: Work, device: str) -> list[str]:
    """What starts one worker on any machine that sees the run folder; with -P, as no file of the working folder is to
    be run because it is named like a module."""
    root = str(work.store.root.absolute())
    return [sys.executable, "-P", "-m", "brittle", "work", root, "--device", device, "--quiet", "--of", work.key]


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def told(tail: Tail) -> int:
    """Say here what workers have said since the last look; how many cells they finished."""
    count = 0
    for _, _, what, values in tail:
        if what in TOGETHER:
            getattr(progress, what)(*values)
            count += what == "finished"
    return count


class Crew:
    """One process a device, each a worker; a process that dies is replaced as long as that may help.

    Args:
        threads: of each, for computing.
    """

    def __init__(self, work: Work, devices: Sequence[str], threads: int) -> None:
        self.work, self.devices = work, devices
        self.surroundings = {**os.environ, "OMP_NUM_THREADS": str(threads)}

    def run(self) -> None:
        """Until every worker has come to its end.

        Raises:
            BrittleError: workers end before they get anything done.
        """
        tail = Tail(self.work.store.root)
        with tempfile.TemporaryFile() as errors:
            team = {place: self._started(device, errors) for place, device in enumerate(self.devices)}
            deaths = 0
            try:
                while team:
                    time.sleep(LOOK)
                    deaths = 0 if told(tail) else deaths
                    for place, process in list(team.items()):
                        if process.poll() is None:
                            continue
                        del team[place]
                        if process.returncode:
                            deaths += 1
                            self._say_of(process, errors, deaths)
                            team[place] = self._started(self.devices[place], errors)
                told(tail)
            finally:
                _end(team)

    def _started(self, device: str, errors: Any) -> subprocess.Popen[bytes]:
        """A worker that ends when this process does, however that ends, and that no Ctrl-C reaches."""
        return subprocess.Popen(
            [*command(self.work, device), "--tied"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=self.surroundings,
            start_new_session=True,
        )

    def _say_of(self, process: subprocess.Popen[bytes], errors: Any, deaths: int) -> None:
        code = process.returncode
        how = (
            f"was killed by signal {-code}, as happens when memory runs out" if code < 0 else f"ended with code {code}"
        )
        if deaths > ATTEMPTS * len(self.devices):
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
            raise BrittleError(f"a worker {how} again and again: {' '.join(last) or 'it said nothing'}")
        progress.say(f"warning: a worker {how}; another takes its place", always=True)


def _end(team: Mapping[int, subprocess.Popen[bytes]]) -> None:
    """Kill what is left: nothing is ever half written."""
    for process in team.values():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for process in team.values():
        process.wait()


def tied(ended: Callable[[], object]) -> None:
    """Wait until the process that started this one is gone, which closes what this one reads from it."""
    while os.read(0, 1024):  # not sys.stdin, whose lock would be held when this process comes to its own end
        pass
    ended()
