"""Several processes, kills at random moments and failed writes, in numbers that every day has time for."""

from pathlib import Path

import long
import pytest

from brittle.core import progress
from brittle.evaluation import attacking
from brittle.launch.parts import worker


@pytest.fixture(autouse=True)
def _restless(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "quiet", True)
    monkeypatch.setattr(worker, "POLL", 0.05)
    monkeypatch.setattr(attacking, "COSTLY", 0.0)


def test_each_cell_is_done_once(tmp_path: Path) -> None:
    assert long.together(tmp_path, 4, 12) == (0, 0)


def test_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    count, again, wrong = long.killed(tmp_path, 4)
    assert count >= 4
    assert (again, wrong) == (0, 0)


@pytest.mark.parametrize("what", long.FAILING)
def test_a_write_that_fails_damages_nothing(tmp_path: Path, what: str) -> None:
    runs, wrong = long.failed(tmp_path, what, every=40)
    assert runs > 1
    assert wrong == 0
