"""Results on disk: one file per cell, written completely or not at all, verified when read, each written once however
many processes run."""

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from brittle.core import files
from brittle.core.errors import MissingError, UsageError
from brittle.core.progress import say
from brittle.core.records import EVIDENCE, Cell, Result

DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OSError, UsageError)  # what reading a damaged file may raise


class Store:
    """A run folder: ``results/<id>.json``, ``samples/<id>.npz``, ``failed/<id>.json``, ``plan.yaml``, ``env.json``.

    Raises:
        UsageError: the path is not a folder, or one that cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        if root.exists() and not root.is_dir():
            raise UsageError(f"{root} is a file, not a folder; name another --output-dir")

    def missing(self, ids: Sequence[str], checks: str = "none", keep: bool = False) -> list[str]:
        """Those that are not ``done``; damaged results are moved aside, reported, and count as missing."""
        return [name for name in ids if not self.done(name, checks, keep)]

    def done(self, name: str, checks: str = "none", keep: bool = False) -> bool:
        """Whether there is a complete result with at least the evidence that ``checks`` asks for (``none``, ``fast`` or
        ``full``), and, if it is to ``keep`` them, the attacked images."""
        result = self.get(name)
        if result is None or EVIDENCE.index(result.evidence) < EVIDENCE.index(checks):
            return False
        return not keep or result.cell.attack is None or (self.images(name) / "cell.json").is_file()

    def get(self, name: str) -> Result | None:
        """A result, or None where there is none or it is damaged."""
        path = self.root / "results" / f"{name}.json"
        if not path.is_file():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf8"))
            seal = data.pop("sha256")
            if seal != files.sha256(_canonical(data)):
                raise ValueError("its sha256 does not match")
            samples = self.root / "samples" / f"{name}.npz"
            if data["samples_sha256"] and files.sha256_of_file(samples) != data["samples_sha256"]:
                raise ValueError("the sha256 of its samples does not match")
            return Result.from_dict(data)
        except DAMAGE as error:
            self._quarantine(path, error)
            return None

    def samples(self, name: str) -> dict[str, Any]:
        """Per-image statistics of a result, numpy arrays by name, and ``ids``.

        Raises:
            MissingError: there are none.
        """
        import numpy as np

        path = self.root / "samples" / f"{name}.npz"
        if not path.is_file():
            raise MissingError(f"no per-image samples {path}; measure that cell again")
        with np.load(path) as arrays:
            return dict(arrays)

    def put(self, result: Result, samples: bytes) -> None:
        """Write a result and its per-image samples (an .npz file's bytes), samples first."""
        if samples:
            files.write_whole(self.root / "samples" / f"{result.id}.npz", samples)
        data = {**result.to_dict(), "samples_sha256": files.sha256(samples) if samples else ""}
        data = json.loads(json.dumps(data, allow_nan=False))
        sealed = {**data, "sha256": files.sha256(_canonical(data))}
        files.write_whole(
            self.root / "results" / f"{result.id}.json", json.dumps(sealed, indent=1, allow_nan=False).encode()
        )
        (self.root / "failed" / f"{result.id}.json").unlink(missing_ok=True)

    def put_failed(self, result: Result) -> None:
        """Write why a cell failed; the next run tries it again."""
        files.write_whole(
            self.root / "failed" / f"{result.id}.json", json.dumps(result.to_dict(), indent=1, allow_nan=False).encode()
        )

    def supersede(self, cells: Mapping[str, Cell]) -> None:
        """Note which identity each cell has now: results of the same cell under another one (an older version, other
        weights) stay on disk but are no longer read with the rest."""
        self.note(
            "current.json",
            json.dumps({**self._current(), **{_label(cell): name for name, cell in cells.items()}}, indent=1),
        )

    def results(self) -> list[Result]:
        """All complete results that are current, then those that failed."""
        current = self._current()
        stored = [self.get(path.stem) for path in sorted((self.root / "results").glob("*.json"))]
        failed = [self._get_failed(path) for path in sorted((self.root / "failed").glob("*.json"))]
        whole = {result.id for result in stored if result}
        every = [result for result in stored if result] + [
            result for result in failed if result and result.id not in whole
        ]
        places = {label: place for place, label in enumerate(current)}
        kept = [result for result in every if current.get(_label(result.cell), result.id) == result.id]
        return sorted(
            kept, key=lambda result: (result.failed is not None, places.get(_label(result.cell), len(places)))
        )

    def _get_failed(self, path: Path) -> Result | None:
        try:
            return Result.from_dict(json.loads(path.read_text(encoding="utf8")))
        except DAMAGE as error:
            self._quarantine(path, error)
            return None

    def _current(self) -> dict[str, str]:
        path = self.root / "current.json"
        if not path.is_file():
            return {}
        try:
            return {str(label): str(name) for label, name in json.loads(path.read_text(encoding="utf8")).items()}
        except DAMAGE as error:
            self._quarantine(path, error)
            return {}

    def note(self, name: str, content: str) -> None:
        """Write a file of the run folder's own, such as plan.yaml."""
        files.write_whole(self.root / name, content.encode())

    @contextmanager
    def claim(self, name: str) -> Generator[None]:
        """Only one process at a time inside, for a cell; the lock is the kernel's, so it does not outlive a killed
        process."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name}.lock"):
            yield

    def images(self, name: str) -> Path:
        """The folder for the adversarial images of a cell."""
        return self.root / "adversarial" / name

    def _quarantine(self, path: Path, error: Exception) -> None:
        aside = self.root / "quarantine" / path.name
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.replace(aside)
        except FileNotFoundError:  # another process was quicker
            return
        say(f"{path}: damaged ({error}); moved to {aside.parent}, it will be measured again")


def _label(cell: Cell) -> str:
    return json.dumps(asdict(cell), sort_keys=True)


def _canonical(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, allow_nan=False).encode()


def read_run(folder: str | Path) -> list[Result]:
    """All results of a run folder, failed ones last.

    Raises:
        MissingError: there is no such folder, or no result in it.
    """
    root = Path(folder)
    results = Store(root).results() if root.is_dir() else []
    if not results:
        raise MissingError(f"no results in {folder}; name a folder that brittle run has written")
    return results
