"""Several workers of one run: the numbers of one, each cell once, and nothing lost where one of them dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bitwise import differing
from brittle.core import claims
from brittle.core.errors import BrittleError, Busy, MissingError, UsageError
from brittle.core.records import Cell
from brittle.evaluation import cache
from brittle.evaluation.attacking import Adversary
from brittle.evaluation.machine import Machine
from brittle.launch import local as launcher
from brittle.launch.parts import cell as cells
from brittle.launch.parts import crew, worker
from brittle.launch.parts.cell import Work, assist_cell, run_cell
from brittle.planning.identity import resolve
from brittle.results import journal
from brittle.results.attempts import forget
from brittle.results.store import Store, read_run

Command = Callable[..., tuple[int, str, str]]
Cells = Callable[..., Cell]
Fork = Callable[..., tuple]
TWO = ("-t", "classification(head=knn)", "-a", "pgd(steps=2)", "--seed", "0", "--seed", "1", "--limit", "8")


def work_of(made: Sequence[Cell], folder: Path, machine: Machine | None = None, large: bool = False) -> Work:
    named = {resolve(cell).id: cell for cell in made}
    return Work(
        named, Store(folder), machine or Machine(), "fast", dict.fromkeys(named, 1e9 if large else 0.0), list(named)
    )


def several(work: Work, batch_size: int = 0) -> Work:
    return replace(work, machine=Machine(batch_size=batch_size, alone=False))


# --- claims -----------------------------------------------------------------------------------------------------------


@pytest.mark.fault("F04")
@pytest.mark.parametrize("how", ["locks", "leases"])
def test_what_another_is_at_is_busy(tmp_path: Path, fork: Fork, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv("BRITTLE_LOCKS", how)
    path, inside = tmp_path / "x.lock", tmp_path / "inside"

    def body() -> None:
        with claims.claimed(path):
            inside.touch()
            signal.pause()

    process, _ = fork(body)
    while not inside.exists():
        assert process.is_alive()
        time.sleep(0.01)
    with pytest.raises(Busy), claims.claimed(path, wait=False):
        raise AssertionError("two at once")
    process.kill()
    process.join()


@pytest.mark.fault("F04")
@pytest.mark.parametrize("how", ["locks", "leases"])
def test_the_claim_of_a_killed_process_is_taken_up(
    tmp_path: Path, fork: Fork, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("BRITTLE_LOCKS", how)
    monkeypatch.setattr(claims, "LEASE", 1.0)

    def body() -> None:
        with claims.claimed(tmp_path / "x.lock"):
            os.kill(os.getpid(), signal.SIGKILL)

    process, _ = fork(body)
    process.join()
    with claims.claimed(tmp_path / "x.lock"):
        pass  # comes to be


@pytest.mark.fault("F04")
def test_where_there_are_no_locks_claims_are_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    claims._has_locks.cache_clear()
    with claims.claimed(tmp_path / "x.lock"):
        assert [path.suffix for path in tmp_path.iterdir()] == [".lease"]
    claims._has_locks.cache_clear()


def test_another_way_to_claim_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRITTLE_LOCKS", "sometimes")
    refused = pytest.raises(UsageError, match="BRITTLE_LOCKS is 'sometimes'; give one of auto, locks, leases")
    with refused, claims.claimed(tmp_path / "x.lock"):
        raise AssertionError("claimed")


def test_heads_that_another_is_fitting_are_busy(fresh: Path, cell_of: Cells, tmp_path: Path) -> None:
    """All in one process: a claim of another thread of it is as any other's."""
    work = several(work_of([cell_of(None)], tmp_path / "run"))
    (name,) = work.cells
    real, outcomes = cache.get_or_make, list[str]()

    def nested(folder: str, key: object, make: Callable[[], object], **how: bool) -> object:
        def making() -> object:
            if folder == "heads" and not outcomes:
                outcomes.append("")
                with pytest.raises(Busy):
                    real(folder, key, make, **how)  # type: ignore[arg-type]
                outcomes.append("busy")
            return make()

        return real(folder, key, making, **how)  # type: ignore[arg-type]

    from brittle.evaluation import heads

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "get_or_make", nested)
        assert run_cell(work, name) == "done"
    assert outcomes == ["", "busy"]


# --- workers ----------------------------------------------------------------------------------------------------------


@pytest.mark.fault("F04")
def test_four_workers_do_each_cell_once(fresh: Path, cell_of: Cells, tmp_path: Path, fork: Fork) -> None:
    made = [
        cell_of(attack, "classification(head=knn)", seed=seed, limit=8)
        for seed in range(6)
        for attack in (None, "pgd(steps=1)")
    ]
    work = work_of(made, tmp_path / "many")
    teams = [fork(lambda: spoken_of(several(work)))[0] for _ in range(4)]
    for process in teams:
        process.join(120)
        assert process.exitcode == 0
    alone = work_of(made, tmp_path / "one")
    worker.work_off(alone)
    assert not differing(work.store, alone.store, list(work.cells))
    told = [
        name
        for _, _, what, values in journal.Tail(work.store.root, past=True)
        for name in values[:1]
        if what == "finished"
    ]
    assert sorted(told) == sorted(work.cells)


def spoken_of(work: Work) -> None:
    with worker.spoken(work, echo=False):
        worker.work_off(work)


def test_cells_that_continue_from_smaller_budgets_wait_for_them(
    cell_of: Cells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [cell_of("pgd(steps=2)", eps=eps, limit=8) for eps in (0.01, 0.02)]
    warm = replace(made[1], attack="warm(attack='pgd(steps=2)', eps=[0.01])")
    work, asked = several(work_of([warm, made[0]], tmp_path)), list[str]()
    assert len(work.earlier) == 1
    monkeypatch.setattr(worker, "run_cell", lambda _, name: asked.append(name) or "done")
    worker.work_off(work)
    assert [work.cells[name].eps for name in asked] == [0.01, 0.02]


def test_a_failure_is_not_tried_again_by_the_others_but_by_the_next_run(
    fresh: Path, cell_of: Cells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = several(work_of([cell_of(None)], tmp_path))
    (name,) = work.cells
    calls = []

    def failing(*_: object) -> None:
        calls.append(1)
        raise MissingError("gone")

    monkeypatch.setattr(cells, "measure", failing)
    assert [run_cell(work, name), run_cell(work, name)] == ["failed", "failed"]
    assert len(calls) == 1
    forget(work.store.root, [name])
    assert run_cell(work, name) == "failed"
    assert len(calls) == 2


@pytest.mark.fault("F20")
def test_a_cell_that_takes_its_worker_with_it_fails_at_last(
    fresh: Path, cell_of: Cells, tmp_path: Path, fork: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = several(work_of([cell_of(None)], tmp_path))
    (name,) = work.cells
    monkeypatch.setattr(cells, "measure", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    for _ in range(cells.ATTEMPTS):
        process, _ = fork(lambda: run_cell(work, name))
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert not work.store.failed(name)
    monkeypatch.setattr(cells, "measure", lambda *_: pytest.fail("tried again"))
    assert run_cell(work, name) == "failed"
    why = work.store.failure(name)
    assert why is not None
    assert "3 workers in a row ended while they measured it" in str(why.failed)


def test_a_stop_is_no_attempt(fresh: Path, cell_of: Cells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = work_of([cell_of(None)], tmp_path)
    (name,) = work.cells

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cells, "measure", stopped)
    for _ in range(cells.ATTEMPTS + 1):
        with pytest.raises(KeyboardInterrupt):
            run_cell(work, name)
    assert not list(tmp_path.glob("workers/*.attempts"))


@pytest.mark.fault("F20")
def test_who_has_to_wait_does_not_make_others_forget_who_died(
    fresh: Path, cell_of: Cells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the memory runs out for a head, which several cells take turns to fit."""
    work = several(work_of([cell_of(None)], tmp_path))
    (name,) = work.cells
    counted = tmp_path / "workers" / f"{name}.attempts"

    def busy(*_: object) -> None:
        raise Busy("the head")

    monkeypatch.setattr(cells, "measure", busy)
    assert run_cell(work, name) == "busy"
    assert not counted.exists()
    counted.write_text(f"{cells.ATTEMPTS} 0")
    assert run_cell(work, name) == "failed"
    assert not counted.exists()
    forget(tmp_path, [name])
    counted.write_text("2 0")
    assert run_cell(work, name) == "busy"
    assert counted.read_text() == "2 0"


# --- large cells ------------------------------------------------------------------------------------------------------

SHARED = [
    ("pgd(steps=2)", "classification"),
    ("sea(steps=2)", "segmentation"),
    ("depth_worst(steps=2)", "depth"),
    ("embed(steps=2)", "depth"),
]


@pytest.mark.parametrize(("attack", "task"), SHARED)
def test_a_cell_in_parts_is_that_in_one(fresh: Path, cell_of: Cells, tmp_path: Path, attack: str, task: str) -> None:
    """Batches 1 and 3 of four are another worker's."""
    made = [cell_of(attack, task)]
    alone = work_of(made, tmp_path / "one", Machine(batch_size=4))
    worker.work_off(alone)
    work = several(work_of(made, tmp_path / "many", large=True), batch_size=4)
    (name,) = work.cells
    real, turn = Adversary._made, list[int]()

    def every_other(self: Adversary, *given: object) -> object:
        turn.append(1)
        if len(turn) % 2 == 0:
            raise Busy("as if another were at it")
        return real(self, *given)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Adversary, "_made", every_other)
        assert assist_cell(work, name) == 2
    assert len(list(work.store.images(name).glob("*.safetensors"))) == 2
    assert run_cell(work, name) == "done"
    assert not differing(work.store, alone.store, [name])
    assert not work.store.images(name).exists(), "what is scored is gone"
    assert not list((work.store.root / "locks").glob(f"{name}-*")), "and so are claims on its batches"


def test_workers_share_a_large_cell(fresh: Path, cell_of: Cells, tmp_path: Path, fork: Fork) -> None:
    made = [cell_of("pgd(steps=8)", limit=32)]
    alone = work_of(made, tmp_path / "one", Machine(batch_size=2))
    worker.work_off(alone)
    work = several(work_of(made, tmp_path / "many", large=True), batch_size=2)
    log, real = tmp_path / "log", Adversary._made

    def noted(self: Adversary, *given: object) -> object:
        with log.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        time.sleep(0.05)
        return real(self, *given)  # type: ignore[arg-type]

    def body() -> None:
        Adversary._made = noted  # type: ignore[method-assign]
        worker.work_off(work)

    teams = [fork(body)[0] for _ in range(2)]
    for process in teams:
        process.join(120)
        assert process.exitcode == 0
    assert not differing(work.store, alone.store, list(work.cells))
    by = log.read_text().split()
    assert len(by) == 16, "each batch once"
    assert len(set(by)) == 2, "by both"


def test_a_helper_attacks_nothing_of_a_cell_that_has_ended(
    fresh: Path, cell_of: Cells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever scored it has cleared its images, which must not look to the helper as if nobody had made them."""
    work = several(work_of([cell_of("pgd(steps=1)", limit=8)], tmp_path, large=True), batch_size=4)
    (name,) = work.cells
    real = Adversary.ahead

    def late(self: Adversary, *given: object) -> int:
        monkeypatch.setattr(Adversary, "ahead", real)
        assert run_cell(work, name) == "done"
        return real(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Adversary, "ahead", late)
    assert assist_cell(work, name) == 0
    assert not work.store.images(name).exists()
    monkeypatch.setattr(cells, "assist", lambda *_: pytest.fail("it is done"))
    assert assist_cell(work, name) == 0


def test_only_large_cells_are_shared(fresh: Path, cell_of: Cells, tmp_path: Path) -> None:
    work = several(work_of([cell_of()], tmp_path))
    (name,) = work.cells
    assert assist_cell(work, name) == 0
    assert not work.store.images(name).exists()


def test_who_cannot_help_says_so_and_goes_on(
    fresh: Path, cell_of: Cells, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = several(work_of([cell_of()], tmp_path, large=True))

    def broken(*_: object) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(cells, "assist", broken)
    assert assist_cell(work, next(iter(work.cells))) == 0
    assert "could not help with" in capsys.readouterr().err


@pytest.mark.parametrize("how", [run_cell, assist_cell])
def test_images_of_other_weights_are_never_written_down(
    fresh: Path, cell_of: Cells, tmp_path: Path, how: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    """As of a worker on a machine where the same path has other weights: whoever scores would take them up."""
    made = work_of([cell_of("pgd(steps=1)", limit=4)], tmp_path, large=True)
    (name,) = made.cells
    other = replace(made.cells[name], encoder="pixels(size=16)")
    assert how(several(replace(made, cells={name: other})), name) in ("failed", 0)
    assert "changed since the run began, or are others on this machine" in capsys.readouterr().err
    assert not made.store.images(name).exists()


# --- launchers --------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(brittle: Command, fresh: Path, tmp_path: Path, tiny: str, encoder: str) -> Callable[..., str]:
    def measured(name: str, *more: str) -> str:
        code, _, said = brittle("run", "-e", encoder, "-d", tiny, *TWO, "--output-dir", str(tmp_path / name), *more)
        assert code == 0
        return said

    return measured


def test_two_workers_give_the_numbers_of_one_process(run: Callable[..., str], tmp_path: Path) -> None:
    run("one")
    said = run("two", "--devices", "2")
    names = [result.id for result in read_run(tmp_path / "one")]
    assert len(names) == 4
    assert not differing(Store(tmp_path / "one"), Store(tmp_path / "two"), names)
    assert all(said.count(f"[{place}/4] ") == 1 for place in range(1, 5))  # each finished cell is said here
    found = journal.workers(tmp_path / "two")
    assert [each.ended for each in found] == [True, True]
    assert sum(each.finished for each in found) == 4


def test_workers_by_hand_give_them_too(run: Callable[..., str], brittle: Command, tmp_path: Path) -> None:
    run("one")
    said = run("hand", "--executor", "manual")
    assert f"brittle work {tmp_path / 'hand'}" in said
    assert "4 left" in brittle("status", tmp_path / "hand")[1]
    assert "nobody is at work" in brittle("status", tmp_path / "hand")[1]
    command = [sys.executable, "-m", "brittle", "work", str(tmp_path / "hand")]
    teams = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = "".join(each.communicate()[1] for each in teams)
    assert [each.returncode for each in teams] == [0, 0], said
    assert all(said.count(f"[{place}/4] ") == 1 for place in range(1, 5))
    names = [result.id for result in read_run(tmp_path / "one")]
    assert not differing(Store(tmp_path / "one"), Store(tmp_path / "hand"), names)
    assert "| classification" in (tmp_path / "hand" / "report" / "report.md").read_text(), "whoever is last reports"
    assert brittle("status", tmp_path / "hand")[1].startswith("4 of 4 cells done, 0 left")


ON_A_CLUSTER = ["slurm(cluster=local, cpus=1, devices=2)", "ray(devices=2)"]


@pytest.mark.parametrize("executor", ON_A_CLUSTER)
def test_workers_on_a_cluster_give_them_too(
    run: Callable[..., str], tmp_path: Path, tiny: str, encoder: str, executor: str
) -> None:
    """In a process of its own, as Ray goes to the network of this machine."""
    run("one")
    words = ("run", "-e", encoder, "-d", tiny, *TWO, "--output-dir", str(tmp_path / "many"), "--executor", executor)
    made = subprocess.run([sys.executable, "-m", "brittle", *words], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert all(made.stderr.count(f"[{place}/4] ") == 1 for place in range(1, 5))
    names = [result.id for result in read_run(tmp_path / "one")]
    assert not differing(Store(tmp_path / "one"), Store(tmp_path / "many"), names)
    assert len(journal.workers(tmp_path / "many")) == 2


def test_jobs_that_end_too_early_are_submitted_again_but_not_for_ever(cell_of: Cells, tmp_path: Path) -> None:
    """What they would do fails at once, as where a node has another environment."""
    from brittle.launch import slurm

    work = work_of([cell_of()], tmp_path)
    asked = list[int]()

    class Executor:
        def __init__(self, **_: object) -> None: ...

        def update_parameters(self, **given: object) -> None:
            assert given["timeout_min"] == 5
            assert given["slurm_partition"] == "gpu"

        def submit_array(self, workers: Sequence[object]) -> list[object]:
            asked.append(len(workers))
            return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm.submitit, "AutoExecutor", Executor)
        with pytest.raises(BrittleError, match="jobs ended 4 times in a row with no cell done"):
            slurm.slurm(work, devices=4, minutes=5, partition="gpu")
    assert asked == [1, 1, 1, 1], "no more jobs than cells"


@pytest.mark.fault("F20")
def test_a_cell_that_ends_its_jobs_fails_alone(
    fresh: Path, cell_of: Cells, tmp_path: Path, fork: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brittle.launch import slurm

    work, real, deaths = work_of([cell_of(), cell_of(None)], tmp_path / "run"), cells.measure, list[int | None]()

    def deadly(cell: Cell, *given: object) -> object:
        return os._exit(1) if cell.attack else real(cell, *given)  # type: ignore[arg-type]

    class Executor:
        def __init__(self, **_: object) -> None: ...

        def update_parameters(self, **_: object) -> None: ...

        def submit_array(self, _: object) -> list[object]:
            process, _log = fork(lambda: worker.work_off(several(work)))
            process.join(120)
            deaths.append(process.exitcode)
            return []

    monkeypatch.setattr(cells, "measure", deadly)
    monkeypatch.setattr(slurm.submitit, "AutoExecutor", Executor)
    slurm.slurm(work)
    assert deaths == [1, 1, 1, 0]
    assert [result.failed and result.failed[:20] for result in work.store.results()] == [None, "3 workers in a row e"]


def test_no_slurm_is_said_in_one_line(cell_of: Cells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from brittle.launch import slurm

    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="no SLURM here.*brittle work"):
        slurm.slurm(work_of([cell_of()], tmp_path))


ATTACK = "pgd(steps=10000000, keep=last)"  # which is over with no image before its last step
ENDLESS = ("-t", "classification(head=knn)", "-a", ATTACK, "--seed", "0", "--seed", "1", "--limit", "8")


@pytest.fixture
def endless(fresh: Path, tmp_path: Path, tiny: str, encoder: str) -> subprocess.Popen[str]:
    """A run of two workers that never ends, once both of them are in the middle of an attack."""
    words = ("run", "-e", encoder, "-d", tiny, *ENDLESS, "--output-dir", str(tmp_path / "run"), "--devices", "2")
    command = [sys.executable, "-m", "brittle", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while sum(bool(each.doing) and "pgd" in each.doing[0] for each in journal.workers(tmp_path / "run")) < 2:
        assert process.poll() is None, "it ended by itself"
        time.sleep(0.1)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.fault("F27")
@pytest.mark.parametrize(("number", "code", "word"), [(signal.SIGINT, 130, "stopped"), (signal.SIGTERM, 143, "termi")])
def test_a_stopped_run_leaves_no_process_and_says_one_line(
    endless: subprocess.Popen[str], tmp_path: Path, number: int, code: int, word: str
) -> None:
    os.kill(endless.pid, number)
    said = endless.communicate()[1]
    assert endless.returncode == code
    lines = [line for line in said.splitlines() if line.startswith("brittle:")]
    assert [line[: 9 + len(word)] for line in lines] == [f"brittle: {word}"]
    assert "Traceback" not in said
    assert not [each for each in journal.workers(tmp_path / "run") if each.alive]


@pytest.mark.fault("F27")
def test_a_killed_launcher_leaves_no_worker(endless: subprocess.Popen[str], tmp_path: Path) -> None:
    endless.kill()
    endless.wait()
    while [each for each in journal.workers(tmp_path / "run") if each.alive]:
        time.sleep(0.05)  # ends when the last of them has noticed


@pytest.mark.fault("F20")
def test_a_killed_worker_is_replaced(endless: subprocess.Popen[str], tmp_path: Path, brittle: Command) -> None:
    first = journal.workers(tmp_path / "run")[0]
    os.kill(first.pid, signal.SIGKILL)
    assert endless.stderr is not None
    while "was killed by signal 9" not in (line := endless.stderr.readline()):
        assert line, "it ended by itself"
    while len([each for each in journal.workers(tmp_path / "run") if each.alive]) < 2:
        time.sleep(0.05)
    data = json.loads(brittle("status", tmp_path / "run", "--json")[1])
    assert (data["cells"], data["lost_workers"], len(data["workers"])) == (4, 1, 2)
    assert data["left"] in (2, 3)  # where one of them took an attack before a clean number that was not ready yet
    assert "1 worker was lost" in brittle("status", tmp_path / "run")[1]


def test_workers_that_end_at_once_are_not_started_for_ever(
    cell_of: Cells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "command", lambda *_: [sys.executable, "-c", "raise SystemExit('no such package')"])
    with pytest.raises(BrittleError, match="ended with code 1 again and again: no such package"):
        crew.Crew(work_of([cell_of()], tmp_path), ["cpu"], 1).run()


def test_more_workers_than_gpus_are_refused(cell_of: Cells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = work_of([cell_of(seed=seed) for seed in range(3)], tmp_path, Machine("cuda"))
    monkeypatch.setattr(launcher.torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="--devices 3: there are 2 GPUs here"):
        launcher.local(work, devices=3)


@pytest.mark.parametrize(
    "given", [("--executor", "local(devices=-1)"), ("--devices", "-1"), ("--executor", "manual(devices=2)")]
)
def test_senseless_workers_are_refused_in_one_line(brittle: Command, given: tuple[str, str], tmp_path: Path) -> None:
    code, _, said = brittle("run", *given, "--output-dir", str(tmp_path / "none"))
    assert code == 2
    assert "Traceback" not in said
    assert not (tmp_path / "none").exists()


# --- journals ---------------------------------------------------------------------------------------------------------


def test_a_line_that_is_not_whole_is_left_for_the_next_look(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    path = tmp_path / "workers" / "a.jsonl"
    tail = journal.Tail(tmp_path)
    path.write_text('[1.0, "say", "one", false]\nno line\n[2.0, "say", "tw')
    assert [values for _, _, _, values in tail] == [["one", False]]
    with path.open("a") as stream:
        stream.write('o", true]\n')
    assert [values for _, _, _, values in tail] == [["two", True]]
    assert not list(tail)


def test_what_is_no_journal_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "workers"
    (folder / "d.jsonl").mkdir(parents=True)
    (folder / "dead.jsonl").symlink_to(tmp_path / "gone")
    (folder / ".hidden.jsonl").write_text('[1.0, "say", "x", false]\n')
    lines = [
        "{}",
        "[]",
        '["x", "ended"]',
        '[1, "began"]',
        '[1, "say", {}, true]',
        '[1, "rm", "-rf"]',
        '[1, "doing", 1]',
        '[NaN, "ended"]',
        f'[1{"0" * 400}, "ended"]',
        "\udcff",
    ]
    (folder / "a.jsonl").write_bytes("\n".join([*lines, '[2.0, "ended"]', ""]).encode(errors="surrogateescape"))
    assert list(journal.Tail(tmp_path, past=True)) == [("a", 2.0, "ended", [])]
    assert [each.ended for each in journal.workers(tmp_path)] == [True]


def test_a_run_folder_may_look_like_an_option(
    brittle: Command, fresh: Path, tmp_path: Path, tiny: str, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, said = brittle("run", "-e", encoder, "-d", tiny, *TWO, "--output-dir=-a b'c", "--devices", "2")
    assert code == 0, said
    assert len(read_run(tmp_path / "-a b'c")) == 4


@pytest.mark.fault("F04")
def test_a_run_that_begins_in_the_same_folder_takes_nobodys_workers(
    fresh: Path, cell_of: Cells, tmp_path: Path, brittle: Command
) -> None:
    one, other = (work_of([cell_of(None, "classification(head=knn)", seed=seed)], tmp_path) for seed in (0, 1))
    with one.note(), other.note():
        words = crew.command(one, "cpu")
        assert brittle(*words[words.index("work") :])[0] == 0
    assert [each.id for each in read_run(tmp_path)] == list(one.cells)
    assert [path.name for path in tmp_path.rglob("*work.json")] == ["work.json"]
    assert brittle(*words[words.index("work") :])[0] == 4


def test_a_journal_that_cannot_be_written_ends_no_worker(tmp_path: Path) -> None:
    (tmp_path / "workers").write_text("a file where a folder belongs, as good as a full disk")
    with journal.Journal(tmp_path, "cpu") as mine:
        mine("say", "as ever", False)
    assert journal.workers(tmp_path) == []


def test_of_another_machine_a_worker_is_lost_once_it_is_silent() -> None:
    other = journal.Worker("x", host="elsewhere", pid=1, heard=time.time())
    assert other.alive
    assert not replace(other, heard=time.time() - 2 * journal.SILENT).alive
    assert not replace(other, ended=True).alive


def test_a_number_that_no_process_has_is_of_none() -> None:
    assert not journal.Worker("x", host=socket.gethostname(), pid=10**30).alive


def test_between_two_cells_a_worker_is_at_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "BEAT", 0.02)
    with journal.Journal(tmp_path, "cpu") as mine:
        mine("doing", "a cell", 1, 2, "images")
        mine("finished", "a cell", "")
        wanted = time.monotonic() + 10
        while sum(what == "doing" for _, _, what, _ in journal.Tail(tmp_path, past=True)) < 2:
            assert time.monotonic() < wanted
            time.sleep(0.01)
        assert [each.doing for each in journal.workers(tmp_path)] == [()]


def test_what_is_not_there_is_said(brittle: Command, tmp_path: Path) -> None:
    for command in ("work", "status"):
        code, _, said = brittle(command, tmp_path / "none")
        assert (code, f"no run folder {tmp_path / 'none'}" in said.replace("\n", " ")) == (4, True)
    for command in ("work", "status"):
        (tmp_path / "work.json").write_text("{}")
        code, _, said = brittle(command, tmp_path)
        assert (code, "no work in" in said) == (4, True)


def test_the_estimate_goes_by_those_at_work() -> None:
    from brittle.cli.work import _seconds_left

    now = time.time()
    crew_of = [journal.Worker("a", began=now - 100, finished=10), journal.Worker("b", began=now - 100, finished=10)]
    assert _seconds_left(crew_of, 10) == pytest.approx(50, abs=1)
    assert _seconds_left([journal.Worker("a", began=now)], 10) is None
