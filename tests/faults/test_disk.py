"""A disk that fills up in the middle of a run: one line, what was measured before is kept, and the run goes on once
there is room."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from brittle.core import files
from brittle.results import store

ARGUMENTS = (
    "run",
    "-e",
    "pixels(size=8)",
    "-d",
    "scenes(train=64, val=32, test=32, size=8)",
    "-t",
    "classification",
    "--limit",
    "8",
)


@pytest.mark.fault("F03")
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("part", ["samples", "results"])
def test_full_disk(
    tmp_path: Path, brittle: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    arguments = (*ARGUMENTS, "-a", "noise", "-a", "pgd(steps=2)", "--device", "cpu", "--output-dir", tmp_path / "r")
    real, written = files.write_whole, []

    def full(path: Path, data: bytes) -> None:
        if path.parent.name == part:
            written.append(path)
            if len(written) == 2:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(store.files, "write_whole", full)
        code, _, err = brittle(*arguments)
    assert code == 3
    lines = [line for line in err.splitlines() if "No space left" in line]
    assert len(lines) == 1
    assert written[0].exists()
    assert not written[1].exists()
    code, out, err = brittle(*arguments)
    assert code == 0
    assert "failed" not in out
    assert "done before" in err


@pytest.mark.fault("F03")
@pytest.mark.usefixtures("quick")
def test_a_cell_whose_failure_cannot_be_written_down_either_is_said(
    tmp_path: Path, brittle: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (*ARGUMENTS, "-a", "noise", "--device", "cpu", "--output-dir", tmp_path / "r")
    real = files.write_whole

    def full(path: Path, data: bytes) -> None:
        if path.parent.name in ("samples", "failed") and (path.parent.name == "failed" or (tmp_path / "one").exists()):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, data)
        if path.parent.name == "results":
            (tmp_path / "one").touch()

    with monkeypatch.context() as patch:
        patch.setattr(store.files, "write_whole", full)
        code, out, err = brittle(*arguments)
    assert code == 3
    assert "no worker could write down what became of it" in out + err
    assert brittle(*arguments)[0] == 0


@pytest.mark.fault("F03")
@pytest.mark.usefixtures("quick")
def test_a_number_stays_where_its_further_evidence_has_no_room(
    tmp_path: Path, brittle: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (*ARGUMENTS, "-a", "noise", "--device", "cpu", "--output-dir", tmp_path / "r", "--checks")
    assert brittle(*arguments, "none")[0] == 0
    real = files.write_whole

    def full(path: Path, data: bytes) -> None:
        if path.parent.name in ("samples", "results", "failed"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(store.files, "write_whole", full)
        _, out, err = brittle(*arguments, "fast")
    assert "failed: " in err
    assert out.count("noise") == 1, "once, not beside a row that failed"
    assert brittle(*arguments, "none")[0] == 0
