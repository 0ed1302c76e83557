"""What a plan takes before it runs: every pass that a cell makes is reckoned, what is shared is reckoned once, and a
plan that takes too long is refused."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from brittle.core.records import Cell
from brittle.evaluation import forecast as forecasts
from brittle.evaluation import rates
from brittle.evaluation.forecast import Forecast, forecast
from brittle.evaluation.machine import Machine
from brittle.evaluation.measure import measure
from brittle.evaluation.rates import Line, Rates
from brittle.planning.identity import Resolved, resolve

Cells = Callable[..., Cell]
Command = Callable[..., tuple[int, str, str]]
FREE = Line(0.0, 0.0)
STILL = Rates(read=0.0, look=FREE, score=FREE, climb=FREE, step=0.0, judge=0.0, batch=8, held=100)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Forecast]:
    """The forecast of cells on a machine where everything is free but what is said."""

    def tell(*cells: Cell, checks: str = "none", **seconds: object) -> Forecast:
        monkeypatch.setattr(forecasts, "DRAWN", 0.0)
        monkeypatch.setattr(forecasts, "rates_of", lambda *_, **__: replace(STILL, **seconds))  # type: ignore[arg-type]
        return forecast({resolve(cell).id: cell for cell in cells}, Machine(), checks, 1)

    return tell


@pytest.mark.parametrize(
    ("attack", "task", "more"),
    [
        ("pgd(steps=3)", "classification", 1.2),  # one forward more, for an objective that asks for it
        ("apgd(steps=5, restarts=2)", "segmentation", 1.5),  # what has no right pixel left is not climbed again
        ("pgd(steps=4, keep=score)", "depth", 1.2),
        ("embed(steps=3)", "depth", 1.2),
        ("worst(attacks=[pgd(steps=2), embed(steps=2)])", "classification", 2.5),  # nor what the first member fooled
        ("noise", "depth", 1.0),
        (None, "segmentation", 1.0),
    ],
)
def test_no_pass_of_a_cell_is_forgotten(
    fresh: Path, told: Callable[..., Forecast], cell_of: Cells, attack: str | None, task: str, more: float
) -> None:
    """Where a pass takes a second, whole and with a gradient, the seconds are those that are counted in the cell."""
    cell = cell_of(attack, task)
    made = measure(cell, Machine(batch_size=8, keep=True), "none")[0].cost  # whose images are attacked to the end
    name = resolve(cell).id
    climbs = told(cell, climb=Line(0.0, 1.0)).cells[name][1]
    passes = climbs + told(cell, score=Line(0.0, 1.0)).cells[name][1]
    assert made["backwards"] <= climbs <= more * made["backwards"]
    assert made["forwards"] <= passes <= more * made["forwards"]


def test_what_is_fixed_is_paid_for_each_batch(told: Callable[..., Forecast], cell_of: Cells) -> None:
    cell = cell_of(None)
    assert list(told(cell, score=Line(1.0, 0.0)).cells.values()) == [(2.0, 2.0)]  # 16 images, 8 at once
    assert Line(2.0, 0.5).of(17, 8) == 3 * 2.0 + 17 * 0.5


def test_what_several_read_is_made_once(fresh: Path, told: Callable[..., Forecast], cell_of: Cells) -> None:
    """The images of an attack that looks at no head, and the features that heads are fitted on."""
    cells = [cell_of("embed(tokens=cls, steps=3)", task) for task in ("depth", "segmentation")]
    first, second = told(*cells, climb=Line(0.0, 1.0)).cells.values()
    assert (first[1], second[1]) == (3 * 16, 0)
    first, second = told(*cells, look=Line(0.0, 1.0)).heads.values()
    assert (first, second) == (64 + 32, 0)


def test_a_head_that_is_there_takes_nothing(fresh: Path, told: Callable[..., Forecast], cell_of: Cells) -> None:
    cell = cell_of(None)
    assert list(told(cell, step=1.0).heads.values()) == [12]
    measure(cell, Machine())
    assert list(told(cell, step=1.0).heads.values()) == [0]


def test_looks_that_leave_heads_behind_take_less(fresh: Path, told: Callable[..., Forecast], cell_of: Cells) -> None:
    (whole,) = told(cell_of(None, "classification"), judge=1.0).heads.values()
    (thinned,) = told(cell_of(None, "depth"), judge=1.0).heads.values()
    assert whole == 20 * 32
    assert thinned == pytest.approx(20 * 32 * (4 * 5 + 4 * 3 + 4 * 2 + 8 * 1) / 20 / 5)


def test_checks_are_reckoned(told: Callable[..., Forecast], cell_of: Cells) -> None:
    none, fast, full = (
        next(iter(told(cell_of("pgd(steps=3)"), checks=checks, climb=Line(0.0, 1.0)).cells.values()))[1]
        for checks in ("none", "fast", "full")
    )
    assert none == 16 * 3
    assert fast == none + 6 * 20 + 3 * 3 + 1 * 2  # EmbedAttack twice, the floor on three images, eps 0 on one
    assert full > fast + 6 * 3 * 2 * 5


def test_workers_share_what_can_be_shared() -> None:
    one, other = ("a",), ("b",)
    made = Forecast(1.0, {one: 10.0, other: 2.0}, {"x": (3.0, 30.0), "y": (2.0, 2.0)}, {"x": one, "y": other}, 0.0, {})
    assert made.seconds(1, ()) == (2 + 17, 2 + 44)
    assert made.seconds(2, ()) == (2 + 13, 2 + 40)  # the cell waits for its head, and nobody can help with it
    assert made.seconds(2, ("x",)) == (2 + 10, 2 + 22)
    assert made.seconds(100, ("x",)) == (2 + 10, 2 + 10)


@pytest.mark.parametrize(
    ("attack", "task", "least"),
    [
        ("worst(attacks=[pgd(steps=2), pgd(steps=3)])", "classification", 1),  # what is wrong is left alone
        ("worst(attacks=[pgd(steps=2), pgd(steps=3)])", "depth", 5),
        ("worst(attacks=['pgd(steps=2, keep=last)', pgd(steps=3)])", "classification", 2),
        ("pgd(steps=5)", "classification", 1),
        ("pgd(steps=5, keep=last)", "classification", 5),
        ("pgd(steps=5, objective=embedding)", "classification", 5),
    ],
)
def test_an_ensemble_may_be_over_early(
    told: Callable[..., Forecast], cell_of: Cells, attack: str, task: str, least: int
) -> None:
    ((low, high),) = told(cell_of(attack, task), climb=Line(0.0, 1.0)).cells.values()
    assert low == 16 * least
    assert high == 16 * 5


def test_what_cannot_be_told_is_said(told: Callable[..., Forecast], cell_of: Cells, monkeypatch) -> None:
    def broken(*_: object, **__: object) -> Rates:
        raise RuntimeError("two\nlines")

    told(cell_of())
    monkeypatch.setattr(forecasts, "rates_of", broken)
    made = forecast({"x": cell_of()}, Machine(), "fast", 1)
    assert made.unknown == {"x": "RuntimeError: two lines"}
    assert made.seconds(1, ())[0] >= 0


@pytest.mark.parametrize("task", ["classification", "segmentation", "depth", "representation"])
def test_speeds_are_measured_once_a_day(
    fresh: Path, cell_of: Cells, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    cell = {"x": cell_of("pgd(steps=3)", task)}
    first = forecast(cell, Machine(), "fast", 1)
    assert not first.unknown
    assert first.cells["x"][0] > forecasts.DRAWN
    assert first.memory > 1e7
    (path,) = (fresh / "rates").iterdir()
    calls: list[int] = []
    real = rates._measured
    monkeypatch.setattr(rates, "_measured", lambda *words: (calls.append(1), real(*words))[1])
    assert forecast(cell, Machine(), "fast", 1).cells == first.cells
    assert not calls
    assert forecast(cell, Machine(batch_size=3), "fast", 1).cells
    assert len(calls) == 1
    monkeypatch.setattr(rates.platform, "node", lambda: "another machine that shares the folder")
    assert forecast(cell, Machine(), "fast", 1).cells
    assert len(calls) == 2
    monkeypatch.undo()
    monkeypatch.setenv("BRITTLE_CACHE", str(fresh))
    monkeypatch.setattr(rates, "_measured", lambda *words: (calls.append(1), real(*words))[1])
    os.utime(path, (0, 0))
    assert forecast(cell, Machine(), "fast", 1).cells
    assert len(calls) == 3


def test_trials_end_and_the_rest_goes_by_size(
    fresh: Path, cell_of: Cells, monkeypatch: pytest.MonkeyPatch, told: Callable[..., Forecast]
) -> None:
    """A model of twice as many cells takes twice as long; one that was tried before is known."""
    cells = {str(size): cell_of(None, encoder=f"pixels(size={size})") for size in (8, 16)}
    calls: list[str] = []

    def tried(resolved: Resolved, *_: object) -> Rates:
        calls.append(resolved.cell.encoder)
        return replace(STILL, score=Line(0.0, 1.0), look=Line(1.0, 1.0), held=10)

    monkeypatch.setattr(rates, "_measured", tried)
    monkeypatch.setattr(forecasts, "DRAWN", 0.0)
    monkeypatch.setattr(forecasts, "TRIALS", -1.0)
    made = forecast(cells, Machine(), "none", 1)
    assert calls == ["pixels(size=8)"]
    assert made.reckoned == 1
    assert made.cells["16"][0] == pytest.approx(4 * made.cells["8"][0])
    monkeypatch.setattr(forecasts, "TRIALS", 60.0)
    assert forecast(cells, Machine(), "none", 1).reckoned == 0
    assert calls == ["pixels(size=8)", "pixels(size=16)"]


def test_a_dry_run_says_how_long(brittle: Command, fresh: Path, encoder: str, tiny: str, tmp_path: Path) -> None:
    words = ("run", "-e", encoder, "-d", tiny, "-a", "pgd(steps=2)", "--limit", "8", "--output-dir", tmp_path / "run")
    code, _, err = brittle(*words, "--dry-run", "--devices", "2")
    assert code == 0
    assert "with 2 workers (heads " in err
    assert " GB of memory each" in err
    for more in ((), ("--dry-run",)):
        code, _, err = brittle(*words, *more, "--max-hours", "0")
        assert code == 2
        assert "more than --max-hours 0; take fewer images" in err
        assert not list(tmp_path.glob("**/plan.yaml"))
    assert not list((tmp_path / "run").glob("results/*"))
    assert brittle(*words, "--max-hours", "10")[0] == 0
    assert brittle(*words, "--max-hours", "nan")[0] == 2
    code, _, err = brittle(*words, "--dry-run", "--max-hours", "0")
    assert (code, "workers" in err) == (0, False)  # nothing is left to do


def test_a_dry_run_lists_what_lacks_evidence_or_images_as_a_run_would_do_it(
    brittle: Command, fresh: Path, encoder: str, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecasts, "rates_of", lambda *_, **__: STILL)
    run, of = ("run", "--output-dir", str(tmp_path), "-q"), ("-e", encoder, "-d", tiny, "-t", "classification")
    words = (*run, *of, "-a", "noise", "--limit", "4")
    assert brittle(*words, "--checks", "none")[0] == 0
    for more in (("--checks", "fast"), ("--checks", "none", "--keep-adversarial")):
        _, out, _ = brittle(*words, *more, "--dry-run")
        assert [line[:5] for line in out.splitlines()] == ["done ", "to do"], more
