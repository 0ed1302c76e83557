"""Upkeep of the folder that runs share: what is in it, what of it is damaged, and room made on request.

Other processes may read and write there meanwhile, and other people may own a part of it. Only files whose place and
name are those of ``core.shared`` are ever removed; links are not followed.
"""

import os
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.core.progress import progress
from brittle.core.shared import KINDS, TENSORS, folder
from brittle.core.text import shortened
from brittle.evaluation.cache import LIMIT, free, is_whole, most
from brittle.evaluation.disk import gigabytes

DAY = 86400  # seconds
LINK, FOREIGN, BLOCKED = "links, not followed", "not brittle's, left alone", "in the way of a folder"
"""Why something is passed over."""


Reasons = dict[str, list[PurePath]]


class File(NamedTuple):
    """A file below the cache as it was when looked at: its kind, its path from the cache on, bytes, when it was used
    last in seconds since the epoch, and what tells it from another of its name."""

    kind: str
    path: PurePath
    size: int
    used: float
    state: tuple[int, int]


@dataclass
class Holdings:
    """What is in the cache: ``whole`` files, ``unfinished`` ones that are being written or were when a process was
    killed, lock files and how many of them are ``held``, and by the reason what is passed over."""

    root: Path
    whole: list[File] = field(default_factory=list[File])
    unfinished: list[File] = field(default_factory=list[File])
    locks: int = 0
    held: int = 0
    passed: Reasons = field(default_factory=lambda: defaultdict(list))


class Checked(NamedTuple):
    """What a look at every file found: ``damaged`` ones, those ``removed`` of them, and by the reason those that could
    not be read or removed."""

    damaged: list[File]
    removed: list[File]
    refused: Reasons


class Pruned(NamedTuple):
    """What went of whole files and of those that killed processes left over, bytes that are left of what may go, and by
    the reason how many could not be removed."""

    removed: list[File]
    leftovers: list[File]
    left: int
    refused: Reasons


def holdings() -> Holdings:
    """Everything in the cache; nothing where there is none.

    Raises:
        UsageError: it is no folder, or cannot be read.
    """
    found = Holdings(files.cache())
    files.check_folder(found.root, "set BRITTLE_CACHE")
    try:
        names = sorted(path.name for path in found.root.iterdir()) if found.root.exists() else []
    except OSError as error:
        raise UsageError(f"cannot read {found.root}: {error.strerror}; set BRITTLE_CACHE") from None
    for name in names:
        if name not in KINDS:
            found.passed[FOREIGN].append(PurePath(name))
        elif not folder(name).is_dir():
            found.passed[BLOCKED].append(PurePath(name))
        elif folder(name).is_symlink():
            found.passed[LINK].append(PurePath(name))
        else:
            _look(found, PurePath(name))
    return found


def _look(found: Holdings, below: PurePath) -> None:
    """Add what is in a folder of the cache."""
    try:
        with os.scandir(found.root / below) as listed:
            entries = list(listed)
    except FileNotFoundError:
        return
    except OSError as error:
        found.passed[_unread(error)].append(below)
        return
    for entry in entries:
        path = below / entry.name
        if entry.is_symlink():
            found.passed[LINK].append(path)
        elif entry.is_dir(follow_symlinks=False) and len(path.parts) == 2:
            _look(found, path)
        elif entry.is_file(follow_symlinks=False):
            _sort_in(found, path)
        else:
            found.passed[FOREIGN].append(path)


def _sort_in(found: Holdings, path: PurePath) -> None:
    """Add a file of the cache to those of its sort, by its place and name."""
    try:
        status = os.lstat(found.root / path)
    except FileNotFoundError:
        return
    except OSError as error:
        found.passed[_unread(error)].append(path)
        return
    kind, rest = path.parts[0], "/".join(path.parts[1:])
    layout = KINDS[kind].layout
    file = File(kind, path, status.st_size, status.st_mtime, _state(status))
    if re.fullmatch(layout.whole, rest):
        found.whole.append(file)
    elif re.fullmatch(layout.unfinished, rest):
        found.unfinished.append(file)
    elif re.fullmatch(layout.lock, rest):
        found.locks += 1
        found.held += _is_held(found.root / path)
    else:
        found.passed[FOREIGN].append(path)


def _unread(error: OSError) -> str:
    return f"cannot be read ({error.strerror})"


def _state(status: os.stat_result) -> tuple[int, int]:
    return status.st_ino, status.st_mtime_ns


def _is_held(path: Path) -> bool:
    """Whether a process holds the lock; the look keeps nobody waiting."""
    import fcntl  # POSIX only

    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # of another user who lets nobody look
        return False
    return False


def verify(found: Holdings, remove: bool = False) -> Checked:
    """Read every file and check its seal.

    Args:
        remove: what is damaged, so that it is made again; not what has been replaced since.
    """
    checked = Checked([], [], defaultdict(list))
    with progress("checking the cache", len(found.whole), "files") as advance:
        for file in found.whole:
            try:
                sound = _is_sound(found.root / file.path)
            except FileNotFoundError:
                sound = True  # another process has removed it
            except OSError as error:
                checked.refused[_unread(error)].append(file.path)
                sound = True  # for all that is known
            if not sound and _is_unchanged(file):
                checked.damaged.append(file)
                if remove and _remove(file, checked.refused):
                    checked.removed.append(file)
            advance(1)
    return checked


def _is_unchanged(file: File) -> bool:
    """Whether it is still there as it was looked at: not removed or made anew by another process since."""
    try:
        return _state(os.lstat(files.cache() / file.path)) == file.state
    except OSError:
        return False


def _is_sound(path: Path) -> bool:
    """Whether a file is as it was written.

    Raises:
        OSError: it cannot be read, or is gone.
    """
    with path.open("rb"):
        pass
    if KINDS[path.relative_to(files.cache()).parts[0]].layout is TENSORS:
        return is_whole(path)
    return files.read_sealed(path) is not None


def prune(found: Holdings, at_most: float | None, older: float | None, dry: bool = False) -> Pruned:
    """Remove what was used longest ago, and what killed processes left over a day ago. What would not be made again
    as it was stays.

    Args:
        at_most: bytes that may be left, or None for any number.
        older: seconds; what was not used for longer goes, or None for no matter how long.
        dry: only say what would go.
    """
    now = time.time()
    refused: Reasons = defaultdict(list)
    leftovers = [file for file in left_over(found) if dry or _remove(file, refused)]
    removed: list[File] = []
    may_go = sorted((file for file in found.whole if KINDS[file.kind].again), key=lambda file: file.used)
    left = sum(file.size for file in may_go)
    for file in may_go:
        unused = older is not None and now - file.used > older
        if not unused and (at_most is None or left <= at_most):
            break
        if dry or _remove(file, refused):
            removed.append(file)
            left -= file.size
    return Pruned(removed, leftovers, left, refused)


def left_over(found: Holdings) -> list[File]:
    """Unfinished files that nobody can be writing any more."""
    return [file for file in found.unfinished if time.time() - file.used > DAY]


def _remove(file: File, refused: Reasons) -> bool:
    """Remove a file if it is still the one that was looked at; whether it is gone. A process that reads it keeps it
    until it ends. No folder on the way is entered that has become a link since."""
    way = os.O_RDONLY | os.O_DIRECTORY
    try:
        with ExitStack() as opened:
            place = os.open(files.cache(), way)
            opened.callback(os.close, place)
            for part in file.path.parent.parts:
                place = os.open(part, way | os.O_NOFOLLOW, dir_fd=place)
                opened.callback(os.close, place)
            if _state(os.stat(file.path.name, dir_fd=place, follow_symlinks=False)) != file.state:
                return False  # used or replaced since
            os.unlink(file.path.name, dir_fd=place)
            return True
    except FileNotFoundError:
        return True  # another process was quicker
    except OSError as error:
        refused[f"cannot be removed ({error.strerror})"].append(file.path)
        return False


def said(found: Holdings) -> list[str]:
    """How much there is and what is odd about it, in lines."""
    kept = f"of features at most {gigabytes(most())} are kept ({LIMIT}); {gigabytes(free())} are free"
    lines = [f"{sized(found.whole)}; {kept}" if found.whole else f"nothing is kept in {found.root}"]
    if found.unfinished:
        old = len(left_over(found))
        lines.append(f"{sized(found.unfinished)} unfinished, {old or 'none'} of them left over for more than a day")
    if found.locks:
        lines.append(f"{counted(found.locks, 'lock')}, {found.held or 'none'} of them held")
    return lines + told(found.passed)


def told(reasons: Reasons) -> list[str]:
    """A line for each reason: how many files or folders it is, and one of them."""
    return [
        f"{why}: {len(paths):,}, such as {shortened(str(min(paths)), 120)}" for why, paths in sorted(reasons.items())
    ]


def sized(some: Sequence[File]) -> str:
    """Such as ``3 files, 0.4 GB``."""
    return f"{counted(len(some), 'file')}, {gigabytes(sum(file.size for file in some))}"


def counted(number: int, what: str) -> str:
    """Such as ``1 file`` or ``2 files``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
