"""Alignment and uniformity: against their formulas on features computed apart, without a label, and only where they are
asked for."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch

import brittle
from brittle.core import components
from brittle.core.records import Cell, Result
from brittle.evaluation import intervals, loading, protocol
from brittle.evaluation.machine import Machine
from brittle.evaluation.measure import measure
from brittle.evaluation.subset import subset
from brittle.planning import identity, plan, sweep
from brittle.tasks.representation import Representation, representation, view
from brittle.types import Batch, DatasetDefaults, Model, Sample


def units(count: int, dim: int = 6, seed: int = 0, shift: float = 1.0) -> torch.Tensor:
    noise = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(noise + shift * torch.eye(dim, dtype=torch.float64)[0], dim=1)


def rows(feature: torch.Tensor) -> dict[str, torch.Tensor]:
    ones = torch.ones(len(feature), dtype=torch.float64)
    return {"feature": feature, "distance": ones, "images": ones}


def summary(task: Representation, found: dict[str, torch.Tensor]) -> dict[str, float]:
    return task.summarise({key: value.sum(0) for key, value in found.items()})


@pytest.mark.parametrize("count", [2, 3, 700])
def test_uniformity_is_that_of_all_pairs(count) -> None:
    feature = units(count)
    expected = torch.pdist(feature).square().mul(-2).exp().mean().log().item()
    assert summary(representation(), representation().together(rows(feature)))["uniformity"] == pytest.approx(
        expected, rel=1e-9
    )


def test_one_image_has_no_uniformity() -> None:
    found = summary(representation(), representation().together(rows(units(1))))
    assert found["alignment"] == 1
    assert not np.isfinite(found["uniformity"])


def test_the_interval_is_that_of_pairs() -> None:
    task, values, widths = representation(), [], []
    for seed in range(60):
        found = task.together(rows(units(80, seed=seed)))
        values.append(summary(task, found)["uniformity"])
        if seed < 10:
            low, high = intervals.intervals(task, found)["uniformity"]
            widths.append((high - low) / (2 * intervals.Z))
    spread = torch.tensor(values).std().item()
    assert 0.7 * spread < torch.tensor(widths).mean() < 1.4 * spread  # half of it where pairs are taken for images


@pytest.fixture
def number(cell_of: Callable[..., Cell], quick: None) -> Callable[..., tuple[Result, dict[str, np.ndarray]]]:
    def make(attack: str | None, *, batch: int = 64, **changes: object) -> tuple[Result, dict[str, np.ndarray]]:
        result, data, _ = measure(cell_of(attack, "representation", **changes), Machine(batch_size=batch))
        return result, dict(np.load(io.BytesIO(data)))

    return make


def pixels(cell: Cell) -> Batch:
    task = identity.task_of("representation")
    encoder = brittle.load_encoder(cell.encoder)
    rule = protocol.standard(cell.dataset, task, encoder.size)
    data = identity.dataset_of(cell.dataset, "test")
    (batch,) = loading.batches(data, subset(data, cell.limit), task, rule, Machine(batch_size=64))
    return batch


def feature(cell: Cell, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.nn.functional.normalize(brittle.load_encoder(cell.encoder)(images).pooled, dim=1)


def test_a_clean_row(number) -> None:
    result, samples = number(None)
    assert result.task["headline"] == "alignment"
    assert set(result.metrics) == set(result.intervals) == {"alignment", "uniformity"}
    clean = feature(result.cell, pixels(result.cell).images)
    assert result.metrics["uniformity"] == pytest.approx(
        torch.pdist(clean).square().mul(-2).exp().mean().log().item(), abs=1e-5
    )
    assert 0 < result.metrics["alignment"] < 4
    for name, (low, high) in result.intervals.items():
        assert low < result.metrics[name] < high
    assert samples["distance"].shape == samples["potential"].shape == (16,)
    assert "feature" not in samples


def test_an_attacked_row_pairs_each_image_with_itself(number) -> None:
    result, samples = number("embed(steps=5)")
    batch = pixels(result.cell)
    found = brittle.attack(
        brittle.load_encoder(result.cell.encoder), batch.images, attack="embed(steps=5)", ids=batch.ids
    )
    clean, moved = feature(result.cell, batch.images), feature(result.cell, found)
    distance = (clean - moved).square().sum(1)
    np.testing.assert_allclose(samples["distance"], distance, rtol=1e-4)
    assert result.metrics["alignment"] == pytest.approx(distance.mean().item(), rel=1e-4)
    assert result.metrics["uniformity"] == pytest.approx(
        torch.pdist(moved).square().mul(-2).exp().mean().log().item(), abs=1e-5
    )
    assert all(finding.verdict != "fail" for finding in result.findings)


def test_its_own_attack_moves_more_than_noise_and_none_moves_nothing(number) -> None:
    own, noise = number("pgd(steps=5)")[0], number("noise")[0]
    assert own.metrics["alignment"] > noise.metrics["alignment"] > 0
    none, clean = number("pgd(steps=5)", eps=0.0)[0], number(None)[0]
    assert none.metrics["alignment"] == 0
    assert none.metrics["uniformity"] == clean.metrics["uniformity"]


def test_batches_change_nothing(number) -> None:
    for attack in (None, "embed(steps=2)"):
        one, other = number(attack)[0], number(attack, batch=5)[0]
        assert one.metrics == pytest.approx(other.metrics, rel=1e-5)


def test_views_belong_to_the_image() -> None:
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    task, encoder = representation(), brittle.load_encoder("pixels(size=32)")
    model = Model(task, task.head_on(encoder), encoder)
    whole = task.target_of(model, Batch(images, torch.zeros(3), ("a", "b", "c")), False)
    part = task.target_of(model, Batch(images[1:], torch.zeros(2), ("b", "c")), False)
    assert whole.shape == (3, 2, 3 * 32 * 32)
    torch.testing.assert_close(whole[1:], part)
    assert (whole[:, 0] - whole[:, 1]).square().sum(1).min() > 1e-3, "the two views of an image are unlike"


def test_a_view_is_a_part_of_the_image_in_other_colours() -> None:
    images = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    same = torch.tensor([[1.0, 0.5, 0.5, 0.5, 0.9, 0.5, 0.5, 0.5]])  # all of it, square, not mirrored, no change
    torch.testing.assert_close(view(images, same), images, rtol=0, atol=1e-5)
    mirrored = same.clone()
    mirrored[:, 4] = 0.1
    torch.testing.assert_close(view(images, mirrored), images.flip(3), rtol=0, atol=1e-5)
    left = same.clone()
    left[0, :3] = torch.tensor([0.0625, 0.5, 0.0])  # a quarter of the area, at the left
    ramp = torch.linspace(0, 1, 24).expand(1, 3, 24, 24)
    torch.testing.assert_close(view(ramp, left)[0, 0, 5, [1, -2]], torch.tensor([0.25, 10.75]) / 23, rtol=0, atol=1e-5)
    bright = same.clone()
    bright[:, 5] = 0.0
    torch.testing.assert_close(view(images, bright), 0.6 * images, rtol=0, atol=1e-5)
    grey = same.clone()
    grey[:, 7] = 0.0
    assert view(images, grey).std(1).mean() == pytest.approx(0.6 * images.std(1).mean().item(), rel=1e-4)


def test_only_where_it_is_named(tiny, encoder) -> None:
    def cells(**more: object) -> list[Cell]:
        return sweep.cells_of(plan.make(encoders=[encoder], datasets=[tiny], **more))[0]

    assert {cell.task for cell in cells()} == {"classification", "segmentation", "depth"}
    named = cells(tasks=["representation"], attacks=["embed", "downstream", "segpgd"])
    assert [cell.attack for cell in named] == [None, "embed", "pgd"]


class Photographs(DatasetDefaults):
    """Images with depth and nothing else."""

    ids, classes, licence, fingerprint = ("a", "b", "c"), {"depth": ()}, "none", "photographs"

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Sample:
        return Sample(
            torch.full((3, 20 + index, 30), 100 + index, dtype=torch.uint8), {"depth": torch.ones(1, 20 + index, 30)}
        )


def test_any_data_set_will_do() -> None:
    task = representation()
    rule = protocol.standard("nyu_depth_v2", task, 16)
    loading.inspect_targets(Photographs(), range(3), task)
    (batch,) = loading.batches(Photographs(), range(3), task, rule, Machine(batch_size=8))
    assert batch.images.shape == (3, 3, 16, 16)
    assert loading.classes_of(Photographs(), task.target) == 0
    assert loading.classes_of(Photographs(), components.build("tasks", "depth").target) == 0
