"""What lies below a folder: its images, through links but never round in a loop, and what is passed over and why."""

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from brittle.types import image_files

LEFT_BEHIND = frozenset(("__macosx", "__pycache__", "thumbs.db", "desktop.ini", "@eadir", "lost+found"))
HIDDEN, BROKEN, LOOP = "hidden or left behind by other programs", "links to nothing", "links to a folder above"


class Found(NamedTuple):
    """Files in the order of their paths, and how many were passed over for each reason."""

    paths: list[Path]
    passed: Counter[str]


def left_behind(name: str) -> bool:
    """Whether a file or folder is hidden, or what an archiver, a notebook or a desktop leaves."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def files_below(folder: Path, ends: Collection[str] = image_files.SUFFIXES) -> Found:
    """The files below a folder whose suffix, in any case, is one of ``ends``."""
    found = Found([], Counter())
    _enter(folder, ends, found, [_identity(parent) for parent in folder.absolute().parents])
    found.paths.sort()
    return found


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted, without what other programs leave."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not left_behind(path.name))


def _enter(folder: Path, ends: Collection[str], found: Found, above: Sequence[tuple[int, int]]) -> None:
    here = _identity(folder)
    if here in above:
        found.passed[LOOP] += 1
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if left_behind(entry.name):
                found.passed[HIDDEN] += 1
            elif entry.is_dir():
                _enter(path, ends, found, [*above, here])
            elif not entry.is_file():
                found.passed[BROKEN if entry.is_symlink() else "no files"] += 1
            elif path.suffix.lower() in ends:
                found.paths.append(path)
            else:
                found.passed[path.suffix.lower() or "without a suffix"] += 1


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def spelled(path: Path) -> Path:
    """The path; where nothing is there, the one file beside it whose name differs in case alone."""
    if path.exists() or not path.parent.is_dir():
        return path
    others = _names(path.parent, path.parent.stat().st_mtime_ns).get(path.name.lower(), ())
    return path.with_name(others[0]) if len(others) == 1 else path


@lru_cache(maxsize=8)
def _names(folder: Path, _changed: int) -> dict[str, list[str]]:
    """The names in a folder by themselves in lower case."""
    names: dict[str, list[str]] = {}
    for name in os.listdir(folder):  # noqa: PTH208 - names alone
        names.setdefault(name.lower(), []).append(name)
    return names


def words(passed: Mapping[str, int]) -> str:
    """What was passed over, such as ``2 .txt, 1 links to nothing``."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(passed.items()) if count)
