"""What each worker of a run says and does, as files in the run folder that anybody can follow: the one way in which
launchers and ``brittle status`` know of workers."""

import json
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

BEAT = 5.0  # seconds between two signs of life
SILENT = 6 * BEAT  # seconds after which a worker of another machine is taken for lost
FOLDER = "workers"
ENDING = ".jsonl"
SHAPES: dict[str, list[type]] = {
    "began": [str, int, str],
    "say": [str, bool],
    "finished": [str, str],
    "doing": [str, int, int, str],
    "ended": [],
}
"""What a line may say, and the kinds of its values."""


class Journal:
    """The journal of this process: lines ``[time, what, *values]``, each whole. While it is open, a thread repeats what
    is being done as a sign of life.

    Args:
        folder: the run folder.
        device: what this worker computes on.
    """

    def __init__(self, folder: Path, device: str) -> None:
        name = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns() // 10**6}"
        self.path = folder / FOLDER / f"{name}{ENDING}"
        self._doing: tuple[Any, ...] = ()
        self._lock, self._ended, self._written = threading.Lock(), threading.Event(), 0.0
        self._write("began", socket.gethostname(), os.getpid(), device)

    def __enter__(self) -> Self:
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._write("ended")

    def __call__(self, what: str, *values: object) -> None:
        """Write a line; how far something is only now and then."""
        if what == "doing":
            self._doing = values
            if time.monotonic() - self._written < BEAT:
                return
        elif what == "finished":
            self._doing = ()  # else the next sign of life would say it of a cell that is over
        self._write(what, *values)

    def _write(self, what: str, *values: object) -> None:
        line = json.dumps([round(time.time(), 1), what, *values]) + "\n"
        with self._lock, suppress(OSError):  # a full disk ends no worker for the sake of its journal
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf8") as stream:
                stream.write(line)
            self._written = time.monotonic()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            self._write("doing", *self._doing)


class Tail:
    """The lines that are new in the journals of a run folder since the last look.

    Args:
        past: whether those that are there already count as new.
    """

    def __init__(self, folder: Path, past: bool = False) -> None:
        self.folder = folder / FOLDER
        self._read: dict[Path, int] = {}
        if not past:
            self._read = {path: path.stat().st_size for path in self._paths()}

    def __iter__(self) -> Iterator[tuple[str, float, str, list[Any]]]:
        """(worker, time, what, values) of each; a line that is not whole yet is left for the next look."""
        for path in self._paths():
            try:
                with path.open("rb") as stream:
                    stream.seek(self._read.get(path, 0))
                    data = stream.read()
            except OSError:  # another user's, or gone meanwhile: of that worker nothing is known
                continue
            whole = data[: data.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            for line in whole.splitlines():
                if told := _told(line):
                    yield path.stem, *told

    def _paths(self) -> list[Path]:
        return sorted(path for path in self.folder.glob(f"[!.]*{ENDING}") if path.is_file())


def _told(line: bytes) -> tuple[float, str, list[Any]] | None:
    """What a line says; None where it is damaged, as on a disk that was full."""
    try:
        at, what, *values = json.loads(line)
        sound = SHAPES[what] == [type(value) for value in values] or (what, values) == ("doing", [])
        return (float(at), what, values) if sound and math.isfinite(at) else None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


@dataclass
class Worker:
    """What the journal of a worker says of it; ``began`` and ``heard`` are times, ``doing`` is what, how many, of how
    many, and their unit."""

    name: str
    host: str = ""
    pid: int = 0
    device: str = ""
    began: float = 0.0
    heard: float = 0.0
    doing: tuple[Any, ...] = ()
    finished: int = 0
    ended: bool = False

    @property
    def alive(self) -> bool:
        """Whether it is still there: on this machine its process is, on another it was heard of lately."""
        if self.ended:
            return False
        if self.host != socket.gethostname():
            return time.time() - self.heard < SILENT
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):  # or no process can have such a number
            return False
        except PermissionError:  # another user's
            pass
        return True


def workers(folder: Path) -> list[Worker]:
    """All workers that a run folder has had, the first ones first."""
    found: dict[str, Worker] = {}
    for name, at, what, values in Tail(folder, past=True):
        worker = found.setdefault(name, Worker(name))
        worker.heard = at
        if what == "began":
            worker.host, worker.pid, worker.device, worker.began = str(values[0]), int(values[1]), str(values[2]), at
        elif what == "doing":
            worker.doing = tuple(values)
        elif what == "finished":
            worker.finished, worker.doing = worker.finished + 1, ()
        elif what == "ended":
            worker.ended, worker.doing = True, ()
    return list(found.values())
