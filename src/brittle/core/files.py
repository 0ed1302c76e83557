"""Files that are whole or not there: atomic writes, checked reads, and the folder that runs share."""

import errno
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from brittle.core.errors import UsageError

SEAL = hashlib.sha256().digest_size  # bytes of a seal
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
UMASK = os.umask(0)  # can only be read by setting it
os.umask(UMASK)


def sha256(data: bytes | str) -> str:
    """Hexadecimal digest of bytes or of text, names that are no UTF-8 included."""
    return hashlib.sha256(data.encode(errors="surrogatepass") if isinstance(data, str) else data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hexadecimal digest of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def mixed(sha: str, **settings: object) -> str:
    """What stands for weights used with ``settings``: their sha256 where every setting is empty, zero or None, else a
    hash of both."""
    given = {key: value for key, value in settings.items() if value not in ("", 0, None, ())}
    return sha256(f"{sha} {sorted(given.items())}") if given else sha


def unwritable(path: Path, error: OSError) -> Exception:
    """What to raise where ``path`` cannot be made: of a full disk the error itself, which names it, else a
    UsageError."""
    if error.errno in FULL:
        return OSError(error.errno, error.strerror, str(path))
    return UsageError(f"cannot write {path}: {error.strerror} ({error.filename}); name another folder")


def check_folder(path: Path, remedy: str = "name another folder") -> None:
    """Refuse a path that is no folder and cannot become one.

    Raises:
        UsageError: a file, a broken link, a name that is too long, or within something that is no folder.
    """
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            raise UsageError(f"{path} is a file, not a folder; {remedy}")
    except FileNotFoundError:
        if path.is_symlink():
            raise UsageError(f"{path} is a link to nothing; {remedy}") from None
    except OSError as error:
        raise UsageError(f"cannot use {str(path)[:200]}: {error.strerror}; {remedy}") from None


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` so that at every moment ``path`` holds the old content or the new one, never a part.

    Raises:
        UsageError: nothing can be written there.
        OSError: the disk is full or fails; it names ``path``.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    except OSError as error:
        raise unwritable(path, error) from None
    os.fchmod(handle, 0o666 & ~UMASK)  # mkstemp's own 0600 would lock out others who share the folder
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)  # the rename itself must outlive a power cut
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_sealed(path: Path, data: bytes) -> None:
    """Write ``data`` whole behind the ``SEAL`` bytes of its sha256, so that a flipped or lost byte is noticed when it
    is read."""
    write_whole(path, hashlib.sha256(data).digest() + data)


def read_sealed(path: Path) -> bytes | None:
    """What ``write_sealed`` wrote, or None where there is nothing or it is damaged, so that it is computed again."""
    try:
        stored = path.read_bytes() if path.is_file() else b""
    except FileNotFoundError:  # another process has removed it in between
        return None
    return stored[SEAL:] if hashlib.sha256(stored[SEAL:]).digest() == stored[:SEAL] else None


def used(path: Path) -> None:
    """Have a file of the shared folder say that it was used now: those that were used longest ago go first."""
    with suppress(OSError):  # of another user, or just removed
        os.utime(path)


def write_record(path: Path, data: Mapping[str, Any]) -> None:
    """Write plain data whole, as strict JSON with its own sha256 in it."""
    plain = json.loads(json.dumps(data, allow_nan=False))
    sealed = {**plain, "sha256": sha256(_canonical(plain))}
    write_whole(path, (json.dumps(sealed, indent=1, allow_nan=False) + "\n").encode())


def read_record(path: Path) -> dict[str, Any]:
    """What ``write_record`` wrote.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: it is damaged, or was not written by ``write_record``.
    """
    try:
        data = json.loads(path.read_text(encoding="utf8"))
        seal = data.pop("sha256")
        whole = seal == sha256(_canonical(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no sealed JSON: {type(error).__name__} {error}") from None
    if not whole:
        raise ValueError("its sha256 does not match")
    return data


def _canonical(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, allow_nan=False).encode()


def seal_folder(folder: Path, label: str, about: Mapping[str, Any]) -> None:
    """Write down in the file ``label`` of a folder that its other files are complete, with their sha256, and ``about``
    what they are, as plain data."""
    paths = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != label and path.name[0] != "."]
    write_record(folder / label, {**about, "files": {path.name: sha256_of_file(path) for path in paths}})


def sealed_folder(folder: Path, label: str, *, mend: bool = False) -> dict[str, Any]:
    """What ``seal_folder`` wrote down, once every file has been found as it was then.

    Args:
        mend: delete the files that are not, so that they are made again.

    Raises:
        ValueError: a file is damaged or gone; the message names it.
    """
    try:
        about = read_record(folder / label)
        seals = {folder / str(name): seal for name, seal in dict(about.pop("files")).items()}
    except (KeyError, OSError):
        raise ValueError(f"{label} does not say what is here") from None
    except ValueError as error:
        raise ValueError(f"{label}: {error}") from None
    lost = [path for path, seal in seals.items() if not path.is_file() or sha256_of_file(path) != seal]
    for path in lost if mend else ():
        path.unlink(missing_ok=True)
    if lost:
        raise ValueError(f"{len(lost)} of {len(seals)} files are damaged or gone, such as {lost[0].name}")
    return about


def cache() -> Path:
    """The folder shared by all runs: ``BRITTLE_CACHE``, else ``~/.cache/brittle``."""
    return expanded(os.environ.get("BRITTLE_CACHE") or "~/.cache/brittle", "set BRITTLE_CACHE")


def expanded(path: str | Path, remedy: str = "write the folder out") -> Path:
    """A path with ``~`` replaced by the home folder.

    Raises:
        UsageError: nobody knows of a home folder, or the path is empty, which would be the working folder.
    """
    if not str(path):
        raise UsageError(f"an empty path; {remedy}")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f"{path}: this user has no home folder; {remedy}") from None


def slug(text: str) -> str:
    """A file name that no text can turn into a path: up to 40 harmless characters and a hash of the whole."""
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', text)[:40].strip('.-')}-{sha256(text)[:12]}"
