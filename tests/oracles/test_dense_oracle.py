"""SegPGD's official steps, segmentation metrics and depth losses against recorded values (dense_a.npz)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import brittle
from brittle import spec

RELATIVE = 1e-5


@pytest.fixture(scope="module")
def recorded():
    return {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(Path(__file__).parent / "dense_a.npz").items()}


def test_segpgd_is_the_official_one(recorded) -> None:
    network = nn.Sequential(nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 6, 1))
    network.load_state_dict({key: recorded[f"w{i}"] for i, key in enumerate(network.state_dict())}, strict=True)
    eps, step, steps = (recorded[key].item() for key in ("eps", "step", "steps"))
    found = brittle.attack(
        network,
        recorded["images"].float() / 255,
        recorded["labels"].long(),
        attack=f"segpgd(steps={steps}, step={step / eps}, random_start=false, keep=last)",
        task="segmentation",
        eps=eps,
    )
    gap = (found - recorded["segpgd"]).abs().max().item()
    assert gap <= 1e-6, f"images differ by {gap:.2e}"


def test_segmentation_metrics(recorded) -> None:
    task = spec.build("tasks", "segmentation")
    guess, target = recorded["metric_pred"].long(), recorded["metric_target"].long()
    count = int(max(guess.max(), target[target != 255].max())) + 1
    logits = nn.functional.one_hot(guess, count).movedim(-1, 1).float()
    found = task.summarise({key: value.sum(0) for key, value in task.score(logits, target).items()})
    for key in ("miou", "macc", "aacc"):
        assert found[key] == pytest.approx(recorded[key].item(), abs=1e-6), key


@pytest.fixture(scope="module")
def depth(recorded):
    return spec.build("tasks", "depth"), recorded["depth_pred"][:, None], recorded["depth_target"][:, None]


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found.double(), wanted.double(), rtol=RELATIVE, atol=0)


def test_depth_metrics(recorded, depth) -> None:
    task, prediction, target = depth
    rows = task.score(prediction, target)
    for key in ("rmse", "absrel", "delta1"):
        close(rows[key], recorded[f"{key}_per_image"])
    found = task.summarise({key: value.sum(0) for key, value in rows.items()})
    assert found["rmse_pooled"] == pytest.approx(recorded["rmse_pooled"].item(), rel=RELATIVE)
    for key in ("rmse", "absrel", "delta1"):
        assert found[key] == pytest.approx(recorded[f"{key}_per_image"].mean().item(), rel=RELATIVE), key


def test_depth_losses(recorded, depth) -> None:
    task, prediction, target = depth
    close(task.sigloss(prediction, target), recorded["sigloss_per_image"])
    close(task.gradloss(prediction, target), recorded["gradloss_per_image"])
    close(task.loss(prediction, target), recorded["sigloss_per_image"] + 0.5 * recorded["gradloss_per_image"])
