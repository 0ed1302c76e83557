"""SegPGD's and CosPGD's official steps, segmentation metrics and depth losses against recorded values."""

import pytest
import torch

from brittle import verify
from brittle.core import components


@pytest.mark.parametrize(
    ("oracle", "count"), [(verify.dense_attacks, 2), (verify.segmentation_metrics, 3), (verify.depth, 6)]
)
def test_recorded_values_are_met(oracle, count) -> None:
    lines = list(oracle())
    assert len(lines) == count
    assert [line for line in lines if not line.ok] == []


def test_metrics_of_depth_are_the_means_of_the_recorded_and_its_loss_the_sum() -> None:
    arrays, task = verify.recorded("dense_a"), components.build("tasks", "depth")
    prediction, target = arrays["depth_pred"][:, None], arrays["depth_target"][:, None]
    found = task.summarise({key: value.sum(0) for key, value in task.score(prediction, target).items()})
    for key in ("rmse", "absrel", "delta1"):
        assert found[key] == pytest.approx(arrays[f"{key}_per_image"].mean().item(), rel=1e-5), key
    wanted = arrays["sigloss_per_image"] + 0.5 * arrays["gradloss_per_image"]
    torch.testing.assert_close(task.loss(prediction, target).double(), wanted, rtol=1e-5, atol=0)
