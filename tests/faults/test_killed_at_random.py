"""A run that is killed at any time, whose clock jumps, or that is stopped twice: what is done is kept, nothing is done
twice, and the end is that of a run that was left alone."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitwise import differing
from brittle import cli
from brittle.core import claims
from brittle.launch.parts import cell as launching
from brittle.results.store import Store, read_run

Run = Callable[..., tuple[int, str, str]]
SMALL = ("-e", "pixels(size=8)", "-d", "scenes(train=64, val=32, test=32, size=8)", "-t", "classification,depth")
WORDS = (*SMALL, "--limit", "8", "--device", "cpu", "-a", "noise", "-a", "pgd(steps=2)")


def _same(one: Path, other: Path) -> None:
    """Both runs hold the same, but for how long it took."""
    names = {result.id for result in read_run(one)}
    assert {result.id for result in read_run(other)} == names
    assert not differing(Store(one), Store(other), names)


@pytest.mark.fault("F01")
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_times_it_ends_as_if_it_had_been_left_alone(
    tmp_path: Path, fresh: Path, brittle: Run, fork: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    assert brittle("run", *WORDS, "--output-dir", tmp_path / "straight")[0] == 0
    monkeypatch.setenv("BRITTLE_CACHE", str(tmp_path / "another"))  # heads and features are lost as well

    def body() -> None:
        sys.argv = ["brittle", "run", *WORDS, "--output-dir", str(tmp_path / "run")]
        cli.main()

    draw, stamps, kills = random.Random(seed), dict[Path, int](), 0
    while True:
        process, log = fork(body)
        process.join(draw.uniform(0.0, 0.5 + kills / 20))  # longer each time, so that it comes to an end
        if not process.is_alive():
            break
        process.kill()
        process.join()
        kills += 1
        for path in (tmp_path / "run" / "results").glob("[!.]*.json"):
            stamp = path.stat().st_mtime_ns
            assert stamps.setdefault(path, stamp) == stamp, "a finished cell was measured again"
    assert process.exitcode == 0, log.read_text()
    assert kills >= 2
    _same(tmp_path / "straight", tmp_path / "run")
    assert not (tmp_path / "run" / "quarantine").exists()


@pytest.mark.fault("F27")
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("between", [0.0, 0.02, 0.2])
def test_stopped_twice_it_ends_at_once(
    tmp_path: Path, fork: Callable[..., Any], number: int, code: int, between: float
) -> None:
    flag, real = tmp_path / "flag", launching.measure

    def halting(*_arguments: Any) -> Any:
        flag.touch()
        time.sleep(60)

    def body() -> None:
        launching.measure = halting  # type: ignore[assignment]
        sys.argv = ["brittle", "run", *WORDS, "--output-dir", str(tmp_path / "run")]
        cli.main()

    process, log = fork(body)
    assert launching.measure is real
    while not flag.exists():
        assert process.is_alive(), log.read_text()
        time.sleep(0.02)
    began = time.monotonic()
    for pause in (between, 0.0):
        os.kill(process.pid, number)
        time.sleep(pause)
    process.join(20)
    assert process.exitcode == code, log.read_text()
    assert time.monotonic() - began < 5
    assert "Traceback" not in log.read_text()


@pytest.mark.fault("F25")
@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("locks", ["locks", "leases"])
@pytest.mark.parametrize("hours", [-1, 1, "both"])
def test_a_clock_that_jumps_moves_nothing(
    tmp_path: Path, brittle: Run, monkeypatch: pytest.MonkeyPatch, locks: str, hours: int | str
) -> None:
    assert brittle("run", *WORDS, "--output-dir", tmp_path / "straight")[0] == 0
    monkeypatch.setenv("BRITTLE_LOCKS", locks)
    real, real_ns, calls, looks = time.time, time.time_ns, [], []
    real_measure = launching.measure

    def shift() -> float:
        looks.append(1)
        by = (-1) ** len(calls) if hours == "both" else int(hours) * len(calls)
        return 3600.0 * by

    def jumping(*arguments: Any) -> Any:
        calls.append(1)
        return real_measure(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real() + shift())
        patch.setattr(time, "time_ns", lambda: real_ns() + int(1e9 * shift()))
        patch.setattr(launching, "measure", jumping)
        words = (*WORDS, "--executor", "manual", "--output-dir", tmp_path / "run")
        assert brittle("run", *words)[0] == 0
        code, _, err = brittle("work", tmp_path / "run", "--device", "cpu")
        assert code == 0, err
        assert brittle("status", tmp_path / "run")[1].startswith("6 of 6 cells done, 0 left")
    assert len(calls) == 6, "each cell once"
    assert looks
    _same(tmp_path / "straight", tmp_path / "run")


@pytest.mark.fault("F04", "F25")
def test_a_lease_outlives_a_clock_that_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds one is at work still, whatever the time of another process."""
    monkeypatch.setenv("BRITTLE_LOCKS", "leases")
    real = time.time
    with claims.claimed(tmp_path / "x.lock"):
        for hours in (-1, 0):
            monkeypatch.setattr(time, "time", lambda hours=hours: real() + 3600 * hours)
            with pytest.raises(claims.Busy), claims.claimed(tmp_path / "x.lock", wait=False):
                raise AssertionError("two at once")
