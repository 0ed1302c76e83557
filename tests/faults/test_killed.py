"""kill -9 at every step of a write: what is on disk afterwards is the old content or the new one, and goes on."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from brittle.core import files
from brittle.core.records import Result
from brittle.results.store import Store

POINTS = {
    "before the temporary file": (files.tempfile, "mkstemp", "before"),
    "empty temporary file": (os, "fdopen", "before"),
    "before fsync": (os, "fsync", "before"),
    "before the rename": (Path, "replace", "before"),
    "after the rename": (Path, "replace", "after"),
}


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.fault("F01")
@pytest.mark.parametrize("count", [1, 2])  # the first file is the samples, the second the result
@pytest.mark.parametrize("point", POINTS)
def test_store_is_whole_after_a_kill(
    tmp_path: Path, result_of: Callable[..., Result], fork: Callable[..., tuple], point: str, count: int
) -> None:
    first, second = result_of("1" * 20, 0.25), result_of("2" * 20, 0.75, seed=1)
    store = Store(tmp_path / "run")
    store.put(first, b"first samples")
    holder, name, when = POINTS[point]
    if name == "fsync":
        count = 2 * count - 1  # each write syncs its file, then its folder

    def body() -> None:
        real, calls = getattr(holder, name), 0

        def dying(*arguments: object, **keywords: object) -> object:
            nonlocal calls
            calls += 1
            if calls == count and when == "before":
                _die()
            made = real(*arguments, **keywords)
            if calls == count:
                _die()
            return made

        setattr(holder, name, dying)
        store.put(second, b"second samples")

    process, _ = fork(body)
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert store.get(first.id) == first
    done = point == "after the rename" and count == 2
    assert store.get(second.id) == (second if done else None)
    assert not (tmp_path / "run" / "quarantine").exists()  # a cell half done is absent, not damaged
    assert [found.id for found in store.results()] == [first.id, second.id][: 1 + done]
    store.put(second, b"second samples")  # going on
    assert [store.get(made.id) for made in (first, second)] == [first, second]


@pytest.mark.fault("F01")
def test_a_file_half_written_is_not_seen(tmp_path: Path, fork: Callable[..., tuple]) -> None:
    path = tmp_path / "x.json"
    files.write_whole(path, b"old")

    def body() -> None:
        real = os.fdopen

        def halfway(handle: int, mode: str) -> object:
            stream = real(handle, mode)

            class Half:
                def __enter__(self) -> "Half":
                    return self

                def __exit__(self, *_error: object) -> None: ...

                def write(self, data: bytes) -> None:
                    stream.write(data[: len(data) // 2])
                    stream.flush()
                    _die()

            return Half()

        os.fdopen = halfway  # type: ignore[assignment]
        files.write_whole(path, b"new and longer")

    process, _ = fork(body)
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
