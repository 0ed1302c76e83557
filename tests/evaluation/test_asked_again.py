"""A run asked for again with more: what has too little evidence or kept no images is measured again, and nothing else
is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from brittle.api.running import execute
from brittle.attacks import stored
from brittle.core import files, progress
from brittle.core.errors import MissingError, UsageError
from brittle.core.records import Cell, Result
from brittle.encoders import py
from brittle.evaluation.machine import machine
from brittle.evaluation.measure import measure
from brittle.launch.parts import cell as launching
from brittle.planning import plan

pytestmark = pytest.mark.usefixtures("quick")
Run = Callable[..., list[Result]]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """The cells measured so far."""
    cells: list[Cell] = []

    def noted(cell: Cell, *others: object) -> tuple[Result, bytes]:
        cells.append(cell)
        return measure(cell, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(launching, "measure", noted)
    return cells


@pytest.fixture
def run(tiny: str, encoder: str, tmp_path: Path) -> Run:
    def go(
        *attacks: str,
        checks: str = "fast",
        keep: bool = False,
        folder: str = "run",
        eps: tuple[str, ...] = ("8/255",),
        seeds: tuple[int, ...] = (0,),
    ) -> list[Result]:
        parts = {"encoders": [encoder], "datasets": [tiny], "tasks": ["classification"], "limit": 8}
        made = plan.make(name="again", attacks=list(attacks), checks=checks, eps=list(eps), seeds=list(seeds), **parts)
        return execute(made, tmp_path / folder, machine("cpu", 8, keep=keep))

    return go


def test_more_evidence_is_gathered_when_it_is_asked_for(run: Run, measured: list[Cell]) -> None:
    numbers = []
    for checks, count in (
        ("none", 2),
        ("none", 0),
        ("fast", 1),
        ("none", 0),
        ("fast", 0),
        ("full", 1),
        ("fast", 0),
        ("full", 0),
    ):
        before = len(measured)
        results = run("pgd(steps=2)", checks=checks)
        assert len(measured) - before == count, checks
        numbers.append((results[1].metrics, len(results[1].findings)))
    assert all(metrics == numbers[0][0] for metrics, _ in numbers)
    assert 0 == numbers[1][1] < numbers[2][1] == numbers[4][1] < numbers[5][1] == numbers[6][1]


def test_images_are_kept_when_it_is_asked_for(run: Run, measured: list[Cell], tmp_path: Path) -> None:
    run("pgd(steps=2)")
    assert not list((tmp_path / "run" / "adversarial").rglob("*.safetensors"))
    run("pgd(steps=2)", keep=True)
    assert len(measured) == 3, "the attacked cell again, the clean one not"
    assert list((tmp_path / "run" / "adversarial").rglob("*.safetensors"))
    run("pgd(steps=2)", keep=True)
    assert len(measured) == 3


@pytest.mark.parametrize("what", ["cell.json", "images", "gone", "another's"])
def test_damage_to_kept_images_is_said_and_mended(
    run: Run, measured: list[Cell], tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    _, made = run("pgd(steps=2)", keep=True)
    folder = tmp_path / "run" / "adversarial" / made.id
    (images,) = folder.glob("*.safetensors")
    whole = images.read_bytes()
    if what == "cell.json":
        text = (folder / "cell.json").read_text("utf8")
        (folder / "cell.json").write_text(text.replace("0.031", "0.931"), "utf8")
    elif what == "images":
        images.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif what == "gone":
        images.unlink()
    else:  # whole in itself, but of other images
        files.write_sealed(images, whole[32:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(MissingError, match=r"stored:.*(damaged|sha256).*--keep-adversarial"):
        run(f"stored:{folder}", folder="moved")
    before = len(measured)
    again = run("pgd(steps=2)", keep=True)[1]
    assert len(measured) - before == 1
    assert "damaged" in capsys.readouterr().err
    assert again.metrics == made.metrics
    assert images.read_bytes() == whole
    stored.about.cache_clear()
    assert run(f"stored:{folder}", folder="moved")[1].metrics == made.metrics


def test_stored_images_are_known_by_what_is_in_them(run: Run, tmp_path: Path) -> None:
    """Two sets of equal names and sizes share no result."""
    made = [run("pgd(steps=2)", keep=True, folder=name, seeds=(seed,))[1] for name, seed in (("a", 0), ("b", 1))]
    sets = [tmp_path / name / "adversarial" / each.id for name, each in zip("ab", made)]
    assert stored.fingerprint(str(sets[0])) != stored.fingerprint(str(sets[1]))


def test_an_old_number_never_stands_beside_a_new_one(
    tmp_path: Path, brittle: Callable[..., tuple[int, str, str]]
) -> None:
    """Nor does one of another row, whichever way the report is made."""
    rng, weights = torch.Generator().manual_seed(0), tmp_path / "w.pt"
    source = tmp_path / "mine.py"
    source.write_text(
        "import torch\nfrom torch import nn\n"
        f"def f():\n    net = nn.Conv2d(3, 8, 4, 4)\n    net.load_state_dict(torch.load({str(weights)!r}))\n"
        "    return net\n"
    )

    def renew() -> None:
        py._own.cache_clear()  # as a new process begins
        torch.save({"weight": torch.randn(8, 3, 4, 4, generator=rng), "bias": torch.zeros(8)}, weights)

    def run(folder: str, *more: object) -> None:
        common = ("-e", f"py:{source}:f", "-d", "scenes(train=24, val=8, test=8, size=16)", "-t", "classification")
        assert brittle("run", *common, *more, "--checks", "none", "--output-dir", tmp_path / folder)[0] == 0

    def lines(*folders: str) -> list[str]:
        code, out, _ = brittle("report", *(tmp_path / folder for folder in folders), "--format", "md")
        assert code == 0
        return [line for line in out.splitlines() if line.startswith("| classification")]

    renew()
    run("old", "-a", "noise", "-a", "pgd(steps=2)")
    shutil.copytree(tmp_path / "old", tmp_path / "run")
    (before,) = lines("old")
    renew()
    run("run", "-a", "noise")
    (row,) = lines("run")
    assert "pgd" not in "".join(lines("run")), "its weights are gone"
    assert row.count("|") < before.count("|")
    both = lines("old", "run")
    assert len(both) == 2
    assert all("weights=" in line for line in both)


def test_stored_images_keep_their_own_budget(run: Run, tmp_path: Path) -> None:
    _, made = run("pgd(steps=2)", keep=True, eps=("4/255",))
    for eps in (("8/255",), ("1/255", "2/255")):
        _, moved = run(f"stored:{tmp_path}/run", folder="moved", eps=eps)
        assert (moved.cell.eps, moved.cell.norm) == (4 / 255, "linf")
        assert moved.metrics == made.metrics


@pytest.mark.parametrize("quiet", [False, True])
def test_what_is_left_out_is_said_and_nothing_left_is_refused(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    monkeypatch.setattr(progress, "quiet", quiet)
    with pytest.raises(UsageError, match="no attack of the plan is left: left out sea on classification"):
        run("sea")
    run("sea", "noise")
    assert "left out sea on classification" in capsys.readouterr().err


@pytest.mark.parametrize(
    "attack", ["curve(attack=universal)", "worst(attacks=[pgd, universal])", "sea(attacks=[universal])"]
)
def test_an_attack_that_learns_first_is_no_part_of_another(run: Run, attack: str) -> None:
    with pytest.raises(UsageError, match="universal learns from training images"):
        run(attack)


@pytest.mark.parametrize(
    "attack",
    [
        "embed(steps=2)",
        "noise",
        "universal(steps=2, pictures=8)",
        "curve(attack='embed(steps=2)')",
        "pgd(objective=embedding, steps=2)",
        "apgd(objective=targeted(label=1), steps=5)",
    ],
)
def test_what_no_head_can_judge_begins_afresh_at_each_budget(run: Run, attack: str) -> None:
    """So that its number at a budget does not depend on which others were asked for."""
    alone = run(attack)[-1]
    among = run(attack, folder="many", eps=("4/255", "8/255"))[-1]
    assert (alone.cell, alone.metrics) == (among.cell, among.metrics)
    assert ("reached" in among.metrics) == ("targeted" in attack)
    assert run("pgd(steps=2)", folder="many", eps=("4/255", "8/255"))[-1].cell.attack.startswith("warm(")
