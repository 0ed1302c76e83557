"""How often a cell took its worker with it, as when memory runs out, so that it is not tried for ever."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from brittle.core import files
from brittle.results.journal import FOLDER


@contextmanager
def attempt(root: Path, name: str) -> Generator[int]:
    """Around the measuring of a cell in a run folder: how many attempts before this one were cut off since the run was
    last started. One that comes to its end, or to an error, is not counted."""
    path = _path(root, name)
    try:
        before = int(path.read_text())
    except (OSError, ValueError):
        before = 0
    files.write_whole(path, str(before + 1).encode())
    try:
        yield before
    finally:
        path.unlink(missing_ok=True)


def forget(root: Path, names: Iterable[str]) -> None:
    """Forget attempts at cells, and that they failed: they are tried again."""
    for name in names:
        _path(root, name).unlink(missing_ok=True)
        (root / "failed" / f"{name}.json").unlink(missing_ok=True)


def _path(root: Path, name: str) -> Path:
    return root / FOLDER / f"{name}.attempts"
