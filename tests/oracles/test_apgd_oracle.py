"""APGD and the whole AutoAttack against the official one's recorded verdicts."""

import pytest
import torch

from brittle import verify


@pytest.mark.parametrize("key", ["apgd-ce", "apgd-t"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_as_many_images_stay_right_as_under_the_official_attack(key, norm) -> None:
    rows = torch.arange(200)
    # nearly all stay right, which takes long: those that fell, and a part of the others
    if (key, norm) == (
        "apgd-t",
        "l2",
    ):
        rows = (~verify.recorded("cls_a")["robust:L2/apgd-t"] | (rows % 8 == 0)).nonzero().flatten()
    assert [line for line in verify.counted(key, norm, rows) if not line.ok] == []


def test_the_whole_ensemble_leaves_as_many_as_the_official_one() -> None:
    assert [line for line in verify.counted("standard", "linf", torch.arange(0, 200, 4)) if not line.ok] == []
