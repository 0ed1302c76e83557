"""Cells in several processes: the numbers of one, said as by one, and none lost where a process is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from brittle.core.errors import UsageError
from brittle.evaluation.machine import Machine
from brittle.launch import processes as launcher
from brittle.launch.parts.cell import Work
from brittle.results.store import Store, read_run

Command = Callable[..., tuple[int, str, str]]
TWO = ("-t", "classification(head=knn)", "-a", "pgd(steps=2)", "--seed", "0", "--seed", "1", "--limit", "8")


@pytest.fixture
def run(
    brittle: Command, fresh: Path, tmp_path: Path, tiny: str, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    monkeypatch.setattr(launcher, "_cores", lambda: 2)

    def measured(executor: str) -> str:
        out = ("--output-dir", str(tmp_path / executor), "--executor", executor)
        code, _, said = brittle("run", "-e", encoder, "-d", tiny, *TWO, *out)
        assert code == 0
        return said

    return measured


def test_numbers_are_those_of_one_process(run: Callable[[str], str], tmp_path: Path) -> None:
    said = run("processes")
    run("local")
    several, one = ({result.id: result for result in read_run(tmp_path / name)} for name in ("processes", "local"))
    assert set(several) == set(one)
    assert len(one) == 4
    for name, result in one.items():
        assert several[name].metrics == result.metrics
        assert several[name].intervals == result.intervals
        assert several[name].findings == result.findings
    assert all(said.count(f"[{place}/4] ") == 1 for place in range(1, 5))  # each finished cell is said here


def test_what_a_killed_process_left_is_measured_here(
    run: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_count: int) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr(launcher, "_pool", killed)
    said = run("processes")
    assert "one of the processes was killed" in said
    assert len(read_run(tmp_path / "processes")) == 4


ON_TWO_CORES = """
import signal
from brittle.launch import processes
processes._cores = lambda: 2
signal.signal(signal.SIGINT, signal.default_int_handler)
from brittle.__main__ import main
main()
"""


@pytest.mark.parametrize(("number", "code", "word"), [(signal.SIGINT, 130, "stopped"), (signal.SIGTERM, 143, "termi")])
def test_a_stopped_run_leaves_no_process_and_says_one_line(
    fresh: Path, tmp_path: Path, tiny: str, encoder: str, number: int, code: int, word: str
) -> None:
    endless = ("-t", "classification(head=knn)", "-a", "pgd(steps=10000000)", "--seed", "0", "--seed", "1")
    words = ("run", "-e", encoder, "-d", tiny, *endless, "--output-dir", str(tmp_path), "--executor", "processes")
    command = [sys.executable, "-c", ON_TWO_CORES, *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    try:
        while "clean" not in (line := process.stderr.readline()):
            assert line, "it ended by itself"
        os.kill(process.pid, number)  # not the others, which are in the middle of an attack
        said = process.communicate()[1]  # once nobody is left who could say more
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == code
    lines = [line for line in said.splitlines() if ": accuracy " not in line]
    assert lines == [line for line in lines if line.startswith(f"brittle: {word}")]
    assert len(lines) == 1


def test_it_is_for_the_cpu(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is for the CPU, not for cuda; take local"):
        launcher.processes(Work({}, Store(tmp_path), Machine("cuda"), "none"))
