"""How often a cell took its worker with it, as when memory runs out, so that it is not tried for ever."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from brittle.core import files
from brittle.core.errors import Busy
from brittle.results.journal import FOLDER


@contextmanager
def attempt(root: Path, name: str) -> Generator[int]:
    """Around the measuring of a cell in a run folder: how many attempts before this one were cut off since the run was
    last started and got nowhere. One that comes to its end, or to an error, is not counted, and where another worker is
    making what the cell needs nothing has been tried; and all are forgotten where the last one wrote attacked images
    down, as one does that a queue's time limit ends."""
    path, written = _path(root, name), _written(root, name)
    try:
        before, had = map(int, path.read_text().split())
    except (OSError, ValueError):
        before, had = 0, written
    before = 0 if written > had else before
    files.write_whole(path, f"{before + 1} {written}".encode())
    as_before = b""
    try:
        yield before
    except Busy:
        as_before = f"{before} {had}".encode() if before else b""
        raise
    finally:
        if as_before:
            files.write_whole(path, as_before)
        else:
            path.unlink(missing_ok=True)


def forget(root: Path, names: Iterable[str]) -> None:
    """Forget attempts at cells, and that they failed: they are tried again."""
    for name in names:
        _path(root, name).unlink(missing_ok=True)
        (root / "failed" / f"{name}.json").unlink(missing_ok=True)


def _written(root: Path, name: str) -> int:
    """How many files of attacked images a cell has so far."""
    return sum(1 for _ in (root / "adversarial" / name).rglob("*.safetensors"))


def _path(root: Path, name: str) -> Path:
    return root / FOLDER / f"{name}.attempts"
