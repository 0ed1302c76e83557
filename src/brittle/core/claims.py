"""Claims on work that many processes share: the kernel's locks, or leases where a file system has none."""

import errno
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from brittle.core.errors import Busy, UsageError

HOW = "BRITTLE_LOCKS"
WAYS = ("auto", "locks", "leases")
LEASE = 60.0  # seconds without a sign of life after which a claim is another's to take
POLL = {True: 1.0, False: 0.05}  # seconds between two tries, by whether each is a look over the network
WITHOUT = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)  # what flock says where there are no locks


@contextmanager
def claimed(path: Path, *, wait: bool = True) -> Generator[None]:
    """Only one process at a time inside, for a path. A kernel's lock ends with its process, however that ends; a lease
    is renewed meanwhile and is another's after ``LEASE`` seconds without that.

    Raises:
        Busy: another is inside, and it is not to be waited for.
        OSError: nothing can be written there.
    """
    from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout  # slow to import, for what claims nothing

    path.parent.mkdir(parents=True, exist_ok=True)
    leased = _leased(path.parent)
    lock: BaseFileLock = SoftFileLease(path.with_suffix(".lease"), lease_duration=LEASE) if leased else FileLock(path)
    try:
        lock.acquire(timeout=-1 if wait else 0, poll_interval=POLL[leased])
    except Timeout:
        raise Busy(path.stem) from None
    try:
        yield
    finally:
        lock.release()


def _leased(folder: Path) -> bool:
    """Whether claims in a folder are leases: as ``BRITTLE_LOCKS`` says, else where its file system knows no locks.

    Raises:
        UsageError: that says something else.
    """
    asked = os.environ.get(HOW) or "auto"
    if asked not in WAYS:
        raise UsageError(f"{HOW} is {asked!r}; give one of {', '.join(WAYS)}")
    return asked == "leases" or (asked == "auto" and not _has_locks(folder))


@cache
def _has_locks(folder: Path) -> bool:
    try:
        import fcntl  # POSIX only
    except ImportError:
        return True  # as the library has it there
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in WITHOUT:
            return False
        raise
    return True
