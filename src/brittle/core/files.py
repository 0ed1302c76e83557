"""Files that are whole or not there: atomic writes, checked reads, and the folder that runs share."""

import hashlib
import os
import re
import tempfile
from pathlib import Path

from brittle.core.errors import UsageError

UMASK = os.umask(0)  # can only be read by setting it
os.umask(UMASK)


def sha256(data: bytes) -> str:
    """Hexadecimal digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hexadecimal digest of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def mixed(sha: str, **settings: object) -> str:
    """What stands for weights used with ``settings``: their sha256 where every setting is empty, zero or None, else a
    hash of both."""
    given = {key: value for key, value in settings.items() if value not in ("", 0, None, ())}
    return sha256(f"{sha} {sorted(given.items())}".encode()) if given else sha


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` so that at every moment ``path`` holds the old content or the new one, never a part."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UsageError(f"cannot write {path}: {error.strerror} ({error.filename}); name another folder") from None
    os.fchmod(handle, 0o666 & ~UMASK)  # mkstemp's own 0600 would lock out others who share the folder
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)  # the rename itself must outlive a power cut
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_sealed(path: Path, data: bytes) -> None:
    """Write ``data`` whole behind the 32 bytes of its sha256, so that a flipped or lost byte is noticed when it is
    read."""
    write_whole(path, hashlib.sha256(data).digest() + data)


def read_sealed(path: Path) -> bytes | None:
    """What ``write_sealed`` wrote, or None where there is nothing or it is damaged, so that it is computed again."""
    if not path.is_file():
        return None
    stored = path.read_bytes()
    return stored[32:] if hashlib.sha256(stored[32:]).digest() == stored[:32] else None


def cache() -> Path:
    """The folder shared by all runs: ``BRITTLE_CACHE``, else ``~/.cache/brittle``."""
    return Path(os.environ.get("BRITTLE_CACHE") or Path.home() / ".cache" / "brittle").expanduser()


def slug(text: str) -> str:
    """A file name that no text can turn into a path: up to 40 harmless characters and a hash of the whole."""
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', text)[:40].strip('.-')}-{sha256(text.encode())[:12]}"
