"""Tasks against an independent reference (torchmetrics) and against depth targets as sensors give them."""

import math

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from brittle.core import components
from brittle.evaluation.intervals import intervals
from brittle.tasks.parts.depth_losses import sigloss
from brittle.types import Features
from brittle.types.target import VOID


def total(rows):
    return {key: value.sum(0) for key, value in rows.items()}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_accuracy_is_torchmetrics() -> None:
    logits, label = torch.randn(50, 7, generator=generator()), torch.randint(0, 7, (50,), generator=generator(1))
    task = components.build("tasks", "classification")
    wanted = MulticlassAccuracy(7, average="micro")(logits, label).item()
    assert task.summarise(total(task.score(logits, label)))["accuracy"] == pytest.approx(wanted, abs=1e-7)


@pytest.mark.parametrize("classes", [2, 5, 21])
def test_segmentation_metrics_are_torchmetrics(classes) -> None:
    mask = torch.randint(0, classes, (6, 20, 17), generator=generator(1))
    logits = torch.randn(6, classes, 20, 17, generator=generator()) + 2 * torch.nn.functional.one_hot(
        mask, classes
    ).movedim(-1, 1)
    mask[torch.rand(mask.shape, generator=generator(2)) < 0.3] = VOID
    task = components.build("tasks", "segmentation")
    found = task.summarise(total(task.score(logits, mask)))
    assert found["miou"] == pytest.approx(
        MulticlassJaccardIndex(classes, ignore_index=VOID)(logits, mask).item(), abs=1e-6
    )
    assert found["macc"] == pytest.approx(MulticlassAccuracy(classes, ignore_index=VOID)(logits, mask).item(), abs=1e-6)
    micro = MulticlassAccuracy(classes, ignore_index=VOID, average="micro")
    assert found["aacc"] == pytest.approx(
        micro(logits.movedim(1, -1).reshape(-1, classes), mask.flatten()).item(), abs=1e-6
    )


def test_a_class_that_nobody_predicts_or_has_is_left_out_of_miou() -> None:
    task = components.build("tasks", "segmentation")
    mask = torch.tensor([[[0, 0], [1, 1]]])
    logits = torch.nn.functional.one_hot(mask, 5).movedim(-1, 1).float()
    assert task.summarise(total(task.score(logits, mask))) == {
        "miou": 1.0,
        "miou_images": 1.0,
        "macc": 1.0,
        "aacc": 1.0,
    }
    logits[0, :, 0, 0] = torch.tensor([0.0, 0.0, 0.0, 9.0, 0.0])
    assert task.summarise(total(task.score(logits, mask)))["miou"] == pytest.approx((0.5 + 1 + 0) / 3)


def test_miou_is_of_the_whole_set_and_no_mean_over_images() -> None:
    task = components.build("tasks", "segmentation")
    mask = torch.tensor([[[0, 0, 0, 0]], [[0, 1, 1, 1]]])
    guess = torch.tensor([[[0, 0, 0, 0]], [[1, 1, 1, 1]]])
    logits = torch.nn.functional.one_hot(guess, 2).movedim(-1, 1).float()
    assert task.summarise(total(task.score(logits, mask)))["miou"] == pytest.approx((4 / 5 + 3 / 4) / 2)


@pytest.mark.parametrize("classes", [2, 5, 21])
def test_the_miou_of_images_is_the_mean_of_torchmetrics_over_images(classes) -> None:
    mask = torch.randint(0, classes, (7, 20, 17), generator=generator(1))
    mask[:3] %= 2  # images differ in what is there
    logits = torch.randn(7, classes, 20, 17, generator=generator())
    logits += torch.arange(7.0).view(7, 1, 1, 1) / 2 * torch.nn.functional.one_hot(mask, classes).movedim(-1, 1)
    mask[torch.rand(mask.shape, generator=generator(2)) < 0.3] = VOID
    mask[3] = VOID  # nothing to score: left out
    each = [
        MulticlassJaccardIndex(classes, ignore_index=VOID)(logits[i : i + 1], mask[i : i + 1]).item()
        for i in range(7)
        if i != 3
    ]
    task = components.build("tasks", "segmentation")
    rows = task.score(logits, mask)
    found = task.summarise(total(rows))
    assert found["miou_images"] == pytest.approx(sum(each) / 6, abs=1e-6)
    assert abs(found["miou_images"] - found["miou"]) > 1e-4
    low, high = intervals(task, rows)["miou_images"]
    assert 0 <= low < found["miou_images"] < high <= 1


def test_the_miou_of_images_sees_small_objects_that_the_miou_of_the_set_hides() -> None:
    """A class that fills one image and is a speck, lost, in nine others."""
    mask = torch.zeros(10, 10, 10, dtype=torch.long)
    mask[0], mask[1:, 0, 0] = 1, 1
    guess = mask.clone()
    guess[1:] = 0
    task = components.build("tasks", "segmentation")
    found = task.summarise(total(task.score(torch.nn.functional.one_hot(guess, 2).movedim(-1, 1).float(), mask)))
    assert found["miou"] > 0.94
    assert found["miou_images"] == pytest.approx((1 + 9 * 0.99 / 2) / 10)


def test_a_segmentation_head_predicts_at_the_size_asked_for() -> None:
    head = components.build("tasks", "segmentation").head(8, 3)
    assert head(Features(torch.zeros(2, 8), torch.randn(2, 8, 3, 5)), (21, 37)).shape == (2, 3, 21, 37)


# --- depth ------------------------------------------------------------------------------------------------------------

BAD = (math.nan, math.inf, -math.inf, 0.0, -1.0, 10.001, 1e-3)


@pytest.fixture
def spoilt():
    """A prediction, a target with every kind of bad pixel, and where it is good."""
    prediction = 0.5 + 9 * torch.rand(3, 1, 24, 26, generator=generator())
    target = 0.5 + 9 * torch.rand(3, 1, 24, 26, generator=generator(1))
    good = torch.rand(target.shape, generator=generator(2)) > 0.2
    bad = torch.tensor(BAD)[torch.randint(0, len(BAD), target.shape, generator=generator(3))]
    return prediction, torch.where(good, target, bad), good


@pytest.mark.fault("F09")
def test_depth_metrics_are_those_of_the_good_pixels(spoilt) -> None:
    prediction, target, good = spoilt
    task = components.build("tasks", "depth")
    rows = task.score(prediction, target)
    for i in range(3):
        p, t = prediction[i][good[i]].double(), target[i][good[i]].double()
        assert rows["rmse"][i].item() == pytest.approx((p - t).square().mean().sqrt().item(), rel=1e-6)
        assert rows["absrel"][i].item() == pytest.approx(((p - t).abs() / t).mean().item(), rel=1e-6)
        assert rows["delta1"][i].item() == pytest.approx(
            (torch.maximum(p / t, t / p) < 1.25).double().mean().item(), rel=1e-6
        )
        assert rows["pixels"][i] == good[i].sum()
    wanted = (prediction[good].double() - target[good].double()).square().mean().sqrt().item()
    assert task.summarise(total(rows))["rmse_pooled"] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.fault("F09")
def test_siglog_loss_is_that_of_the_good_pixels(spoilt) -> None:
    prediction, target, good = spoilt
    task = components.build("tasks", "depth")
    for i in range(3):
        gap = (prediction[i][good[i]].double() + 1e-3).log() - (target[i][good[i]].double() + 1e-3).log()
        wanted = (gap.var() + 0.15 * gap.mean() ** 2).sqrt().item()
        assert sigloss(prediction, target, task.valid(target))[i].item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.fault("F09")
def test_bad_depth_pixels_leave_loss_and_gradient_finite_and_have_no_gradient(spoilt) -> None:
    prediction, target, good = spoilt
    task = components.build("tasks", "depth")
    leaf = prediction.clone().requires_grad_()
    loss = task.loss(leaf, target)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert (leaf.grad[~good] == 0).all()
    assert (leaf.grad[good] != 0).any()
    zeros = torch.where(good, target, 0.0)
    torch.testing.assert_close(task.loss(prediction, zeros), loss.detach(), rtol=0, atol=0)


@pytest.mark.parametrize("pixels", [0, 1, 2])
def test_a_image_with_hardly_a_depth_has_a_finite_loss_and_gradient(pixels) -> None:
    target = torch.full((1, 1, 12, 12), math.nan)
    target.view(-1)[:pixels] = 3.0
    leaf = torch.full((1, 1, 12, 12), 2.0, requires_grad=True)
    task = components.build("tasks", "depth")
    loss = task.loss(leaf, target)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert (loss > 0).item() == (pixels > 0)
    rows = task.score(leaf.detach(), target)
    assert rows["images"].item() == (pixels > 0)
    assert rows["pixels"].item() == pixels


def test_a_perfect_depth_has_a_finite_gradient() -> None:
    leaf = torch.full((1, 1, 12, 12), 2.0, requires_grad=True)
    loss = components.build("tasks", "depth").loss(leaf, torch.full((1, 1, 12, 12), 2.0))
    loss.sum().backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


def test_the_depth_range_is_a_setting() -> None:
    target = torch.tensor([0.5, 5.0, 15.0, 25.0]).view(1, 1, 1, 4)
    far = components.build("tasks", "depth(min_depth=1, max_depth=20)")
    assert far.score(torch.ones_like(target), target)["pixels"].item() == 2
    head = far.head(4, 0)
    depth = head(Features(torch.randn(2, 4), torch.randn(2, 4, 3, 3)), (24, 24))
    assert depth.shape == (2, 1, 24, 24)
    assert depth.min() >= 1
    assert depth.max() <= 20


def test_classes_by_hand() -> None:
    """Of class 0 one of two images is right, of class 2 the only one; masks are intersection over union."""
    task = components.build("tasks", "classification")
    logits = torch.eye(4)[[0, 1, 2]]
    hits, trials = task.by_class(task.score(logits, torch.tensor([0, 0, 2])))
    assert (hits.tolist(), trials.tolist()) == ([1, 0, 1], [2, 0, 1])
    assert task.by_class({"correct": torch.ones(2), "images": torch.ones(2)}) is None, "of an older version"
    masks = components.build("tasks", "segmentation")
    predicted, target = torch.tensor([[[0, 0], [1, 1]]]), torch.tensor([[[0, 1], [1, VOID]]])
    rows = masks.score(torch.eye(3)[predicted].movedim(-1, 1), target)
    hits, trials = masks.by_class(rows)
    assert (hits.tolist(), trials.tolist()) == ([1, 1, 0], [2, 2, 0])
