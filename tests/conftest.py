"""What all tests share: a cache of their own, one thread, no network, and the cheapest things that still go through
every stage."""

import os
import shutil
import tempfile

if "BRITTLE_TESTS" not in os.environ:  # workers of pytest-xdist inherit the folder of the process that started them
    os.environ["BRITTLE_TESTS"] = tempfile.mkdtemp(prefix="brittle-tests-")
    OWNER = True
else:
    OWNER = False
os.environ["BRITTLE_CACHE"] = os.environ["BRITTLE_TESTS"]
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_worker_niceness", "0")  # of 15 else: on busy cores its workers would wait for all the others
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the suite is about the CPU; tests here fork

import dataclasses
import multiprocessing
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import offline
from brittle import cli
from brittle.core import components, progress, tree
from brittle.core.records import Cell, Finding, Result
from brittle.evaluation import measure, probe
from brittle.evaluation.remembered import Remembered

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a shell; tests interrupt what they start
    signal.signal(signal.SIGINT, signal.default_int_handler)
offline.block()
_path = [str(Path(offline.__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, _path)))  # so in the processes that tests start


def pytest_unconfigure() -> None:
    if OWNER:
        shutil.rmtree(os.environ["BRITTLE_TESTS"], ignore_errors=True)


@pytest.fixture(autouse=True)
def _no_network() -> Iterator[None]:
    """``offline`` refuses; what a library passed over fails the test all the same."""
    offline.attempts.clear()
    yield
    assert offline.attempts == [], "the test went to the network"


@pytest.fixture(autouse=True)
def _loud(monkeypatch: pytest.MonkeyPatch) -> None:
    progress.quiet = False
    monkeypatch.setenv("COLUMNS", "160")  # workers of pytest-xdist have their own


@pytest.fixture(autouse=True)
def _nothing_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier test scored is not remembered: passes would be counted by the order of the tests."""
    monkeypatch.setattr(measure, "REMEMBERED", Remembered())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads of a few steps, kept apart from real ones."""
    monkeypatch.setattr(probe, "STANDARD", dataclasses.replace(probe.STANDARD, steps=12, epochs=0))
    monkeypatch.setenv("BRITTLE_CACHE", str(Path(os.environ["BRITTLE_TESTS"]) / "quick"))


@pytest.fixture
def fresh(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shared folder that nothing was kept in yet."""
    monkeypatch.setenv("BRITTLE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _forget() -> None:
    for remembered in (components._completed, components.canonical, tree._tree):
        remembered.cache_clear()


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Put another function, or other traits, in the place of a component's."""

    def put(kind: str, name: str, function: Callable[..., object] | None = None, **traits: object) -> None:
        old = components.component(kind, name)
        new = components.Component(function or old.function, dataclasses.replace(old.traits, **traits))
        monkeypatch.setitem(components._handed_over, (kind, name), new)
        _forget()

    yield put
    _forget()


@pytest.fixture
def tiny() -> str:
    """A data set with all three targets that costs next to nothing."""
    return "scenes(train=64, val=32, test=32, size=8)"


@pytest.fixture
def encoder() -> str:
    return "pixels(size=8)"


@pytest.fixture
def cell_of(tiny: str, encoder: str) -> Callable[..., Cell]:
    def make(attack: str | None = "pgd(steps=3)", task: str = "classification", **changes: object) -> Cell:
        values: dict[str, object] = {
            "encoder": encoder,
            "dataset": components.canonical("datasets", tiny),
            "task": task,
            "attack": attack,
            "eps": 8 / 255 if attack else None,
            "norm": "linf" if attack else None,
            "seed": 0,
            "limit": 16,
            "protocol": "standard",
        }
        return Cell(**{**values, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def result_of(cell_of: Callable[..., Cell]) -> Callable[..., Result]:
    """A made-up result, without measuring anything."""

    def make(
        name: str = "a" * 20,
        value: float = 0.5,
        *,
        attack: str | None = None,
        failed: str | None = None,
        **changes: object,
    ) -> Result:
        facts = {"name": "classification", "headline": "accuracy", "higher_is_better": True, "attack": "pgd"}
        findings = (Finding("budget", "ok", 0.0, "fine"),) if attack else ()
        cell_changes = {
            key: changes.pop(key) for key in list(changes) if key in Cell.__dataclass_fields__ and key != "task"
        }
        cell = cell_of(attack, **cell_changes)
        if failed is not None:
            return Result(id=name, cell=cell, task=facts, failed=failed)
        values: dict[str, object] = {
            "task": facts,
            "metrics": {"accuracy": value},
            "metrics_uint8": {"accuracy": value},
            "intervals": {"accuracy": (max(0.0, value - 0.1), min(1.0, value + 0.1))},
            "images": 16,
            "image_ids_sha256": "f" * 64,
            "findings": findings,
            "cost": {"seconds": 1.25e-05, "forwards": 16},
            "made_by": {"device": "cpu x1", "note": "caf\u00e9"},
        }
        return Result(id=name, cell=cell, **{**values, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def brittle(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command line in this process: (exit code, stdout, stderr). Anything but an exit is a bare traceback and fails
    the test."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["brittle", *map(str, arguments)])
        capfd.readouterr()
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as ended:
                cli.main()
        finally:
            signal.signal(signal.SIGTERM, before)
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def run_docs(brittle: Callable[..., tuple[int, str, str]]) -> Callable[..., int]:
    """Run the commands of a page of docs, all of which must succeed; gives how many there were. ``change`` makes the
    words of the command that is run of a line."""

    def run(page: str, change: Callable[[str], list[str]] = shlex.split) -> int:
        text = (Path(__file__).parents[1] / "docs" / f"{page}.md").read_text(encoding="utf8")
        lines = "".join(re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)).splitlines()
        for line in lines:
            code, _, err = brittle(*change(line)[1:])
            assert code == 0, f"{line}: {err}"
        return len(lines)

    return run


@pytest.fixture
def fork(tmp_path: Path) -> Callable[..., tuple[multiprocessing.process.BaseProcess, Path]]:
    """Start ``body()`` in a copy of this process; gives the process and the file its stderr goes to."""
    started: list[multiprocessing.process.BaseProcess] = []

    def start(body: Callable[[], object]) -> tuple[multiprocessing.process.BaseProcess, Path]:
        log = tmp_path / f"child-{len(started)}.log"

        def run() -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            handle = os.open(log, os.O_WRONLY | os.O_CREAT)
            os.dup2(handle, 2)
            os.dup2(handle, 1)
            sys.stderr, sys.stdout = os.fdopen(2, "w", 1, closefd=False), os.fdopen(1, "w", 1, closefd=False)
            body()

        process = multiprocessing.get_context("fork").Process(target=run)
        process.start()
        started.append(process)
        return process, log

    yield start
    for process in started:
        if process.is_alive():
            process.kill()
        process.join()
