"""Attacks that reach across: budgets that continue from smaller ones, kept sets put before others, one perturbation for
all, curves."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import brittle
from brittle.attacks import stored as stored_images
from brittle.attacks import universal
from brittle.core import components
from brittle.core.errors import MissingError, UsageError
from brittle.planning import identity
from brittle.results import store
from brittle.results.compare import statistics_of

pytestmark = pytest.mark.usefixtures("quick")
Run = Callable[..., tuple[int, str, str]]
EPS = ["1/255", "2/255", "4/255"]


def read(folder: Path, name: str) -> np.ndarray:
    return dict(np.load(folder / "samples" / f"{name}.npz"))


@pytest.mark.parametrize("task", ["classification", "segmentation", "depth"])
def test_no_budget_gives_a_better_number_than_a_smaller_one(tmp_path: Path, encoder: str, tiny: str, task: str) -> None:
    results = brittle.run(
        [encoder], [tiny], [task], ["pgd(steps=3)"], EPS, limit=12, output_dir=tmp_path, checks="none"
    )
    rows = [result for result in results if result.cell.attack]
    assert [result.cell.attack for result in rows] == [
        "pgd(steps=3)",
        f"warm(attack='pgd(steps=3)', eps=[{1 / 255}])",
        f"warm(attack='pgd(steps=3)', eps=[{1 / 255}, {2 / 255}])",
    ]
    made = components.build("tasks", task)
    damage = []
    for result in rows:
        arrays = {key: torch.from_numpy(value) for key, value in statistics_of(read(tmp_path, result.id))[1].items()}
        damage.append(made.damage(arrays).nan_to_num(0))
    assert (damage[1] >= damage[0] - 1e-6).all()
    assert (damage[2] >= damage[1] - 1e-6).all()
    assert not list((tmp_path / "adversarial").glob("*")), "nothing was asked to be kept"


def test_a_budget_added_later_gives_what_it_gives_at_once(tmp_path: Path, encoder: str, tiny: str) -> None:
    common = ([encoder], [tiny], ["depth"], ["pgd(steps=3)"])
    at_once = brittle.run(*common, EPS, limit=8, output_dir=tmp_path / "a", checks="none")
    brittle.run(*common, EPS[:2], limit=8, output_dir=tmp_path / "b", checks="none")
    later = brittle.run(*common, EPS, limit=8, output_dir=tmp_path / "b", checks="none")
    assert [result.id for result in at_once] == [result.id for result in later]
    assert [result.metrics for result in at_once] == [result.metrics for result in later]


def test_a_column_is_named_without_its_warm_start(tmp_path: Path, brittle: Run, encoder: str, tiny: str) -> None:
    code, out, _ = brittle(
        "run",
        "-e",
        encoder,
        "-d",
        tiny,
        "-t",
        "classification",
        "-a",
        "pgd",
        "--eps",
        "1/255",
        "--eps",
        "2/255",
        "--limit",
        4,
        "--output-dir",
        tmp_path,
        "--checks",
        "none",
    )
    assert code == 0
    assert "pgd 2/255" in out
    assert "warm(" not in out
    assert "continues from the smaller ones" in " ".join(out.split())


def test_kept_sets_are_put_before_other_encoders_and_tasks(tmp_path: Path, brittle: Run, tiny: str) -> None:
    common = ("-d", tiny, "-t", "classification", "-t", "depth", "--limit", 6, "--checks", "none")
    first = ("-e", "pixels(size=8)", "-a", "pgd(steps=3)", "--output-dir", tmp_path / "a", "--keep-adversarial")
    assert brittle("run", *first, *common)[0] == 0
    own = {result.cell.task: result for result in store.read_run(tmp_path / "a") if result.cell.attack}
    second = ("-e", "pixels(size=8)", "-a", f"stored:{tmp_path / 'a'}", "--output-dir", tmp_path / "b")
    assert brittle("run", *second, *common)[0] == 0
    moved = [result for result in store.read_run(tmp_path / "b") if result.cell.attack]
    assert len(moved) == 4, "made for two tasks, put before two"
    for result in moved:
        source = result.made_by["attack"]
        if source["task"] == result.cell.task:
            assert result.metrics == own[result.cell.task].metrics, "lossless"
    code, out, _ = brittle("report", tmp_path / "b", "--format", "transfer")
    assert code == 0
    assert out.count("| pixels(size=8) classification |") == 1
    assert out.count("| pixels(size=8) depth |") == 1


def test_stored_images_that_do_not_fit_are_refused_in_one_line(tmp_path: Path, brittle: Run, tiny: str) -> None:
    common = ("-d", tiny, "-t", "classification", "--checks", "none")
    first = (
        "-e",
        "pixels(size=8)",
        "-a",
        "pgd(steps=1)",
        "--limit",
        3,
        "--output-dir",
        tmp_path / "a",
        "--keep-adversarial",
    )
    assert brittle("run", *first, *common)[0] == 0
    stored = f"stored:{tmp_path / 'a'}"
    code, _, err = brittle(
        "run", "-e", "pixels(size=8)", "-a", stored, "--limit", 5, "--output-dir", tmp_path / "b", *common
    )
    assert code == 3
    assert "has not all images" in err
    code, _, err = brittle(
        "run", "-e", "pixels(size=16)", "-a", stored, "--limit", 3, "--output-dir", tmp_path / "c", *common
    )
    assert code == 3
    assert "8x8 and 16x16" in err
    code, _, err = brittle(
        "run", "-e", "pixels(size=8)", "-a", f"stored:{tmp_path / 'none'}", "--output-dir", tmp_path / "d", *common
    )
    assert code == 4
    assert len(err.strip().splitlines()) == 1
    with pytest.raises(MissingError, match="keep-adversarial"):
        stored_images.expand(str(tmp_path))


def test_a_followed_attack_gives_the_same_number_and_its_way_there(tmp_path: Path, encoder: str, tiny: str) -> None:
    results = brittle.run(
        [encoder],
        [tiny],
        ["segmentation"],
        ["pgd(steps=4)", 'curve(attack="pgd(steps=4)")'],
        limit=8,
        output_dir=tmp_path,
        checks="none",
    )
    clean, plain, followed = results
    assert followed.metrics == plain.metrics
    assert plain.curve == ()
    assert [point["step"] for point in followed.curve] == [0, 1, 2, 3, 4, 5]
    assert followed.curve[-1]["miou"] == pytest.approx(followed.metrics["miou"])
    assert followed.curve[-1]["miou"] < clean.metrics["miou"]
    assert all(point["distance"] > 0 for point in followed.curve)
    assert store.read_run(tmp_path)[2].curve == followed.curve


def test_one_perturbation_for_all_images(tmp_path: Path, brittle: Run, tiny: str) -> None:
    attack = "universal(steps=30, pictures=32)"
    code, _, _ = brittle(
        "run",
        "-e",
        "pixels(size=8)",
        "-d",
        tiny,
        "-t",
        "depth",
        "-a",
        attack,
        "--eps",
        0.1,
        "--limit",
        32,
        "--batch-size",
        5,
        "--output-dir",
        tmp_path,
        "--checks",
        "none",
        "--keep-adversarial",
    )
    assert code == 0
    clean, found = (
        next(result for result in store.read_run(tmp_path) if (result.cell.attack or "clean").startswith(name))
        for name in ("clean", "universal")
    )
    assert found.metrics["rmse"] > clean.metrics["rmse"]
    shelf = stored_images._images(str(tmp_path / "adversarial" / found.id))
    data = identity.dataset_of(found.cell.dataset, "test")
    ids = [data.ids[i] for i in range(32)]
    moved = shelf.get(ids)["images"]
    images = torch.stack([data[i].image for i in range(32)]).float() / 255
    inside = ((images > 0.1) & (images < 0.9)).float()
    delta = (moved - images) * inside
    count = inside.sum(0).clamp(min=1)
    mean = delta.sum(0) / count
    assert ((delta - mean * inside).abs().amax()) < 1e-5, "the same for all, away from the box"


def test_a_universal_perturbation_needs_one_size() -> None:
    from brittle.types import Batch

    learn = universal.learn
    batches = [Batch(torch.rand(1, 3, size, 4), torch.zeros(1), ["a"]) for size in (4, 5)]
    with pytest.raises(UsageError, match="2 sizes"):
        learn(None, batches, None, 0, objective="task_loss", steps=1, step=0.1, pictures=2)
