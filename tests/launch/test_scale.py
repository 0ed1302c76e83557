"""benchmarks/scale.py: the simulation keeps its books, and benchmarks/operations.py reads what strace writes."""

from types import ModuleType

import pytest

from benchmark import benchmark

BATCHES = 782  # of a cell of 50,000 images, 64 at a time


@pytest.fixture
def scale() -> ModuleType:
    return benchmark("scale")


def few(scale: ModuleType) -> object:
    """98 cells: two encoders, one head each, seven budgets."""
    return scale.cells((scale.Kind(1, 7830, 224), scale.Kind(1, 2040, 224)), heads=1)


def still(scale: ModuleType, workers: int, **more: float) -> object:
    """A file system that takes no time, and GPUs all of one speed."""
    return scale.Setting(workers, spread=0, slow=0, latency=1e-12, client=1e18, server=1e18, most=1e15, **more)


def test_the_plan_has_ten_thousand_cells(scale: ModuleType) -> None:
    cells = scale.cells()
    assert len(cells) == 10_000
    assert cells.piece < cells.work / 1024
    chained = cells.before >= 0
    assert chained.sum() == 7200
    assert (cells.attack[chained] == cells.attack[cells.before[chained]]).all(), "the same attack, the next budget"


def test_one_worker_takes_the_sum(scale: ModuleType) -> None:
    cells = few(scale)
    found = scale.simulate(cells, still(scale, 1))
    sorting = len(cells) ** 2 * scale.SORTING / 3600
    assert cells.work / 3600 <= found.hours * (1 + 1e-9) <= cells.work / 3600 * (1 + 1e-8) + sorting
    assert (found.deaths, found.lost, found.failed) == (0, 0, 0)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("workers", [2, 16, 60])
def test_none_is_faster_than_the_bound(scale: ModuleType, workers: int, share: bool) -> None:
    cells = few(scale)
    found = scale.simulate(cells, still(scale, workers, share=share))
    assert found.hours >= max(cells.work / workers, cells.piece) / 3600 - 1e-9


def test_shared_cells_end_sooner(scale: ModuleType) -> None:
    cells = few(scale)
    alone, shared = (scale.simulate(cells, still(scale, 60, share=share)).hours for share in (False, True))
    chain = 7 * cells.attack.max() / 3600
    assert alone >= chain, "each budget continues from the one before, by one worker at a time"
    assert shared < chain


def test_a_death_costs_no_more_than_the_piece_in_hand(scale: ModuleType) -> None:
    cells = few(scale)
    found = scale.simulate(cells, still(scale, 8, mtbf=3))
    assert found.deaths > 10
    assert 0 < found.lost <= found.deaths * cells.piece / 3600
    assert found.longest <= cells.piece / 3600
    assert found.hours > scale.simulate(cells, still(scale, 8)).hours


def test_a_death_during_an_attack_costs_at_most_a_batch(scale: ModuleType) -> None:
    cells = few(scale)
    run = scale.Simulation(cells, still(scale, 1))
    cell = int(cells.attack.argmax())
    run.at[0], run.owner[cell], run.pool[cell] = cell, 0, 0.5
    run._attack(0, cell)
    run._die(0)
    assert 0 < run.lost <= cells.attack[cell] / BATCHES
    assert 0.5 < run.pool[cell] <= 0.5 + 1 / BATCHES, "only what was in hand is to be done again"
    assert run.attempts[cell] == 1


def test_a_cell_that_takes_three_workers_fails_and_the_rest_goes_on(scale: ModuleType) -> None:
    cells = few(scale)
    found = scale.simulate(cells, still(scale, 4, limit=cells.attack.max() / 3600 / 6, share=False))
    assert found.failed > 0
    assert scale.simulate(cells, still(scale, 4, limit=24)).failed == 0


def test_the_same_seed_is_the_same_run(scale: ModuleType) -> None:
    cells = few(scale)
    one, again, other = (scale.simulate(cells, scale.Setting(8, mtbf=10, seed=seed)) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_a_slower_file_system_takes_longer_and_gives_no_more_than_it_can(scale: ModuleType) -> None:
    cells = few(scale)
    fast, slow = (scale.simulate(cells, scale.Setting(16, latency=latency, most=2e3)) for latency in (1e-3, 2e-2))
    assert slow.hours > fast.hours
    assert max(fast.peak, slow.peak) <= 2e3 + 1e-6
    assert scale.simulate(cells, scale.Setting(16, server=1e9)).bytes <= 1e9


def test_a_walk_begins_again_after_each_cell_that_is_done(scale: ModuleType) -> None:
    import numpy as np

    head = np.repeat([0, 1, 2], 3)
    taken = np.array([1, 0, 0, 1, 0, 0, 0, 0, 1], bool)
    # done: the last two of the middle head; 2 before the first of them, 1 in the head before the second, then all 3
    assert scale._tries(taken, np.array([4, 5]), head) == 2 + 1 + 3
    assert scale._tries(taken, np.array([], int), head) == 3


def test_operations_are_those_on_files_of_the_run_between_marks() -> None:
    operations = benchmark("operations")
    trace = f"""
1 newfstatat(AT_FDCWD, "{operations.MARK}one", 0x7, 0) = -1 ENOENT
1 openat(AT_FDCWD, "/run/a", O_RDONLY) = 3</run/a>
1 newfstatat(3</run/a>, "", {{...}}, AT_EMPTY_PATH) = 0
1 read(3</run/a>, ""..., 100) = 40
1 read(3</run/a>, "", 100) = 0
2 close(3</run/a>) = 0
2 mkdir("/run", 0777) = -1 EEXIST (File exists)
2 openat(AT_FDCWD, "/elsewhere/a", O_RDONLY) = 3</elsewhere/a>
1 newfstatat(AT_FDCWD, "{operations.MARK}{operations.BETWEEN}", 0x7, 0) = -1 ENOENT
1 openat(AT_FDCWD, "/run/b", O_RDONLY) = 3</run/b>
"""
    assert operations.counted(trace, ["/run"]) == {"one": {"open": 1, "read": 1, "close": 1, "read bytes": 40}}


def test_helpers_that_do_not_read_leave_the_file_system_in_peace(scale: ModuleType) -> None:
    cells = few(scale)
    today, looking = (scale.simulate(cells, scale.Setting(32, server=2e9, reads=reads)) for reads in (2.0, 0.0))
    assert looking.hours < today.hours
    assert looking.bytes * looking.hours < today.bytes * today.hours
    listed = scale.simulate(cells, scale.Setting(32, server=2e9, reads=0.0, again=False, listed=0))
    assert listed.operations * listed.hours < looking.operations * looking.hours
