"""Results on disk: one file per cell, written completely or not at all, verified when read, each written once however
many processes run."""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from brittle.core import files
from brittle.core.claims import claimed
from brittle.core.errors import Busy, MissingError, UsageError
from brittle.core.pictures import Picture
from brittle.core.progress import say
from brittle.core.records import EVIDENCE, Cell, Result
from brittle.planning.words import DOWNSTREAM
from brittle.results.noted import ID, identity

DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OSError, UsageError)  # what reading a damaged file may raise
FOLDERS = ("results", "samples", "gallery", "failed", "adversarial", "locks", "workers", "quarantine", "report")
LABEL = "cell.json"  # says what kept images are, and is written last


class Store:
    """A run folder: ``results/<id>.json``, ``samples/<id>.npz``, ``gallery/<id>.json``, ``failed/<id>.json``,
    ``adversarial/<id>/``, ``current.json`` (which id each cell has now), ``plan.yaml``, ``env.json``. All but the last
    two are sealed: damage is noticed when they are read, said, and mended by the next run - but for pictures, which
    are left out.

    Raises:
        UsageError: the path is not a folder, or one that cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root = files.expanded(root)
        for path in (root, *(root / name for name in FOLDERS)):
            files.check_folder(path)

    def missing(self, ids: Sequence[str], checks: str = "none", keep: bool = False) -> list[str]:
        """Those that are not ``done``; damaged results are moved aside, reported, and count as missing."""
        return [name for name in ids if not self.done(name, checks, keep)]

    def done(self, name: str, checks: str = "none", keep: bool = False) -> bool:
        """Whether there is a complete result with at least the evidence that ``checks`` asks for (``none``, ``fast`` or
        ``full``), and, if it is to ``keep`` them, the attacked images."""
        result = self.get(name)
        if result is None or EVIDENCE.index(result.evidence) < EVIDENCE.index(checks):
            return False
        return not keep or result.cell.attack is None or self._kept(name)

    def written(self) -> set[str]:
        """The cells that something is written down of, a result or a failure, without reading any."""
        return {path.stem for folder in ("results", "failed") for path in (self.root / folder).glob("[!.]*.json")}

    def get(self, name: str) -> Result | None:
        """A result, or None where there is none or it is damaged."""
        path = self.root / "results" / f"{name}.json"
        if not path.is_file():
            return None
        try:
            data = files.read_record(path)
            samples = self.root / "samples" / f"{name}.npz"
            if data["samples_sha256"] and files.sha256_of_file(samples) != data["samples_sha256"]:
                raise ValueError("the sha256 of its samples does not match")
            if data["id"] != name:
                raise ValueError(f"it holds the result {data['id']}")
            return Result.from_dict(data)
        except DAMAGE as error:
            self._quarantine(path, error)
            return None

    def _kept(self, name: str) -> bool:
        """Whether the attacked images of a cell are kept, all of them whole."""
        folder = self.images(name)
        if not (folder / LABEL).is_file():
            return False
        try:
            files.sealed_folder(folder, LABEL, mend=True)
        except ValueError as error:
            say(f"{folder}: damaged ({error}); what is lost is made again")
            return False
        return True

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

    def pictures(self, name: str) -> list[Picture]:
        """What was drawn of a result; nothing where nothing was, or it is damaged."""
        path = self.root / "gallery" / f"{name}.json"
        if not path.is_file():
            return []
        try:
            data = files.read_record(path)
            if data["id"] != name:
                raise ValueError(f"it holds the pictures of {data['id']}")
            return [Picture.from_dict(each) for each in data["pictures"]]
        except DAMAGE as error:
            say(f"{path}: damaged ({error}); its pictures are left out")
            return []

    def put(self, result: Result, samples: bytes, pictures: Sequence[Picture] = ()) -> None:
        """Write a result, its per-image samples (an .npz file's bytes) and its pictures, the result last."""
        if samples:
            files.write_whole(self.root / "samples" / f"{result.id}.npz", samples)
        if pictures:
            drawn = {"id": result.id, "pictures": [picture.to_dict() for picture in pictures]}
            try:
                files.write_record(self.root / "gallery" / f"{result.id}.json", drawn)
            except (ValueError, OSError, UsageError) as error:  # numbers that are none, or no room
                say(f"warning: no pictures of {result.cell}: {error}")
        data = {**result.to_dict(), "samples_sha256": files.sha256(samples) if samples else ""}
        files.write_record(self.root / "results" / f"{result.id}.json", data)
        (self.root / "failed" / f"{result.id}.json").unlink(missing_ok=True)

    def failure(self, name: str) -> Result | None:
        """Why a cell failed, as the row that it is in reports."""
        return self._get_failed(self.root / "failed" / f"{name}.json")

    def failed(self, name: str) -> bool:
        """Whether a cell failed since the run was last started."""
        return (self.root / "failed" / f"{name}.json").is_file()

    def put_failed(self, result: Result) -> None:
        """Write why a cell failed; the next run tries it again."""
        files.write_record(self.root / "failed" / f"{result.id}.json", result.to_dict())

    def supersede(self, cells: Mapping[str, Cell]) -> None:
        """Note which identity each cell has now: results of the same cell under another one (an older version, other
        weights) stay on disk but are no longer read with the rest."""
        with self.claim("current"):  # another process may add its own
            now = {**self._current(), **{_label(cell): name for name, cell in cells.items()}}
            files.write_record(self.root / "current.json", {"cells": now})

    def others(self, cells: Mapping[str, Cell]) -> list[Result]:
        """The current results of cells that are none of these."""
        asked = {_label(cell) for cell in cells.values()}
        names = [name for label, name in self._current().items() if label not in asked]
        return [result for name in names if (result := self.get(name)) is not None]

    def results(self) -> list[Result]:
        """All complete results that are current, then those that failed. What is not current is left out, and said: the
        results of other weights, data or versions, and all of a cell that has several where it is not known which is
        current."""
        current = self._current()
        stored = [self.get(path.stem) for path in sorted((self.root / "results").glob("[!.]*.json"))]
        failed = [self._get_failed(path) for path in sorted((self.root / "failed").glob("[!.]*.json"))]
        whole = {result.id for result in stored if result}
        every = [result for result in stored if result] + [
            result for result in failed if result and result.id not in whole
        ]
        places = {label: place for place, label in enumerate(current)}
        ids: dict[str, set[str]] = {}
        for result in every:
            ids.setdefault(_label(result.cell), set()).add(result.id)
        kept = [
            result
            for result in every
            if current.get(_label(result.cell), result.id if len(ids[_label(result.cell)]) == 1 else "") == result.id
        ]
        if not self._plan_says_downstream():
            kept = [replace(result, task={**result.task, DOWNSTREAM: False}) for result in kept]
        if len(kept) < len(every):
            say(f"{self.root}: {len(every) - len(kept)} results of other weights, data or versions are left out")
        return sorted(
            kept, key=lambda result: (result.failed is not None, places.get(_label(result.cell), len(places)))
        )

    def _plan_says_downstream(self) -> bool:
        """Whether the plan asked for each task's own attack, or for attacks by name; so also where there is no plan."""
        try:
            plan = json.loads((self.root / "plan.yaml").read_text(encoding="utf8"))
            return DOWNSTREAM in plan["attacks"]
        except DAMAGE:
            return True

    def _get_failed(self, path: Path) -> Result | None:
        try:
            return Result.from_dict(files.read_record(path))
        except DAMAGE as error:
            self._quarantine(path, error)
            return None

    def _current(self) -> dict[str, str]:
        path = self.root / "current.json"
        if not path.is_file():
            return {}
        try:
            cells = json.loads(path.read_text(encoding="utf8"))
            if not all(isinstance(name, str) and ID.fullmatch(name) for name in cells.values()):
                cells = files.read_record(path)["cells"]  # the names alone, unsealed, are of an older version
            return {str(label): identity(name) for label, name in cells.items()}
        except DAMAGE as error:
            self._quarantine(path, error)
            return {}

    def note(self, name: str, content: str) -> None:
        """Write a file of the run folder's own, such as plan.yaml."""
        files.write_whole(self.root / name, content.encode())

    @contextmanager
    def claim(self, name: str, busy: str = "", *, wait: bool = True) -> Generator[None]:
        """Only one process at a time inside, for a cell, or for a part of one (``core.claims``).

        Args:
            busy: what to refuse with where another is inside; it is waited for where nothing is given.

        Raises:
            UsageError: another is inside, or the folder cannot be written.
            Busy: another is inside, nothing is to be refused with, and it is not to be waited for.
        """
        path = self.root / "locks" / f"{name}.lock"
        with ExitStack() as stack:
            try:
                stack.enter_context(claimed(path, wait=wait and not busy))
            except Busy:
                if busy:
                    raise UsageError(busy) from None
                raise
            except OSError as error:
                raise files.unwritable(path, error) from None
            yield

    def put_images(self, name: str, cell: Cell) -> None:
        """Note that the attacked images of a cell are complete."""
        files.seal_folder(self.images(name), LABEL, asdict(cell))

    def images(self, name: str) -> Path:
        """The folder for the adversarial images of a cell."""
        return self.root / "adversarial" / name

    def _quarantine(self, path: Path, error: Exception) -> None:
        aside = self.root / "quarantine" / path.name
        try:
            aside.parent.mkdir(parents=True, exist_ok=True)
            path.replace(aside)
        except FileNotFoundError:  # another process was quicker
            return
        except OSError:  # a folder that can only be read
            say(f"{path}: damaged ({error}); the next run makes it again")
            return
        say(f"{path}: damaged ({error}); moved to {aside.parent}, the next run makes it again")


def _label(cell: Cell) -> str:
    return json.dumps(asdict(cell), sort_keys=True)


def pictures(folders: Sequence[str | Path]) -> Callable[[str], Sequence[Picture]]:
    """What gives the pictures of a result in any of these run folders, by its id; nothing where there are none."""
    stores = [Store(Path(folder)) for folder in folders]

    @cache
    def found(name: str) -> Sequence[Picture]:
        return next((drawn for store in stores if (drawn := store.pictures(name))), ())

    return found


def folder_of(name: str, folders: Sequence[Path]) -> Path:
    """The first of these run folders that holds a result of that id.

    Raises:
        MissingError: none of them does.
    """
    for folder in folders:
        if (files.expanded(folder) / "results" / f"{name}.json").is_file():
            return folder
    raise MissingError(f"no result {name} in {', '.join(map(str, folders))}")


def read_run(folder: str | Path) -> list[Result]:
    """All results of a run folder, failed ones last.

    Raises:
        MissingError: there is no such folder, or no result in it.
    """
    root = files.expanded(folder)
    results = Store(root).results() if root.is_dir() else []
    if not results:
        raise MissingError(f"no results in {folder}; name a folder that brittle run has written")
    return results
