"""What each objective's value is, worked out from its definition for predictions that are given."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import kl_div, one_hot

from brittle.core import components
from brittle.core.errors import UsageError
from brittle.types import Batch, Model
from brittle.types.target import VOID

# most likely first: 0 1 2 3 4 and 3 1 4 0 2
LOGITS = torch.tensor([[3.0, 1.0, 0.5, -1.0, -4.0], [0.0, 2.0, -1.0, 5.0, 1.5]])


def value(text: str, task: str, prediction: Tensor, target: Tensor, progress: float = 0.0) -> Tensor:
    images = torch.zeros(len(target), 3, 4, 5, dtype=prediction.dtype)  # a prediction is taken in the images' type
    model = Model(components.build("tasks", task), lambda _images: prediction)
    batch = Batch(images, target, [str(i) for i in range(len(target))])
    return components.build("objectives", text, model, batch)(images, progress)


def mask_and_logits() -> tuple[Tensor, Tensor]:
    """Two images of 4x5 pixels and 3 classes, some pixels right, some wrong, some void."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, 3, (2, 4, 5), generator=generator)
    logits = torch.randn(2, 3, 4, 5, generator=generator) + one_hot(mask, 3).movedim(-1, 1)
    mask[:, 0, :2] = VOID
    return mask, logits


def cross_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """-log of the right class's probability, 0 where void."""
    surprise = -logits.log_softmax(1).gather(1, mask.where(mask != VOID, 0)[:, None])[:, 0]
    return torch.where(mask == VOID, 0, surprise)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("dlr", [-(3 - 1) / (3 - 0.5), -(2 - 5) / (5 - 1.5)]),
        ("dlr(normalised=false)", [1.0 - 3, 5.0 - 2]),
        ("dlr(rank=1)", [-(3 - 1) / (3 - (0.5 - 1) / 2), -(2 - 5) / (5 - (1.5 + 0) / 2)]),
        ("dlr(rank=2)", [-(3 - 0.5) / (3 - (0.5 - 1) / 2), -(2 - 1.5) / (5 - (1.5 + 0) / 2)]),
        ("dlr(rank=4, normalised=false)", [-4.0 - 3, -1.0 - 2]),
    ],
)
def test_dlr_of_logits_by_hand(text, wanted) -> None:
    found = value(text, "classification", LOGITS, torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor(wanted))


@pytest.mark.parametrize(
    ("text", "aims"), [("targeted", [1, 3]), ("targeted(rank=3)", [3, 0]), ("targeted(label=2)", [2, 2])]
)
def test_targeted_is_the_log_probability_of_the_aim(text, aims) -> None:
    found = value(text, "classification", LOGITS, torch.tensor([0, 1]))
    torch.testing.assert_close(found, LOGITS.log_softmax(1)[[0, 1], aims])


def test_js_is_the_divergence_from_the_mixture() -> None:
    mask, logits = mask_and_logits()
    share, truth = logits.softmax(1), one_hot(mask.where(mask != VOID, 0), 3).movedim(-1, 1).float()
    middle = ((share + truth) / 2).log()
    each = (kl_div(middle, share, reduction="none") + kl_div(middle, truth, reduction="none")).sum(1) / 2
    torch.testing.assert_close(value("js", "segmentation", logits, mask), (each * (mask != VOID)).mean((1, 2)))
    assert (each <= math.log(2)).all()


def test_masked_cross_entropy_is_that_of_the_pixels_still_right() -> None:
    mask, logits = mask_and_logits()
    right = logits.argmax(1) == mask
    assert right.any()
    assert (~right & (mask != VOID)).any()
    torch.testing.assert_close(
        value("masked_ce", "segmentation", logits, mask), (cross_entropy(logits, mask) * right).sum((1, 2)) / 20
    )
    wrong = one_hot((mask.where(mask != VOID, 0) + 1) % 3, 3).movedim(-1, 1).float()
    assert (value("masked_ce", "segmentation", wrong, mask) == 0).all(), "nothing is left to win"


def test_segpgd_moves_from_right_pixels_to_wrong_ones() -> None:
    mask, logits = mask_and_logits()
    loss, right = cross_entropy(logits, mask), logits.argmax(1) == mask
    for progress in (0.0, 0.5, 0.9):
        wanted = ((1 - progress / 2) * (loss * right).sum((1, 2)) + progress / 2 * (loss * ~right).sum((1, 2))) / 20
        torch.testing.assert_close(value("segpgd", "segmentation", logits, mask, progress), wanted)


def test_cospgd_weighs_by_agreement_and_holds_it_fixed() -> None:
    mask, logits = mask_and_logits()
    logits = logits.double().requires_grad_()
    found = value("cospgd", "segmentation", logits, mask)
    truth = one_hot(mask.where(mask != VOID, 0), 3).movedim(-1, 1).double()
    weight = torch.nn.functional.cosine_similarity(logits.softmax(1), truth, dim=1).detach()
    wanted = (cross_entropy(logits, mask) * weight).mean((1, 2))
    torch.testing.assert_close(found, wanted)
    (gradient,), (held,) = (torch.autograd.grad(each.sum(), logits) for each in (found, wanted))
    torch.testing.assert_close(gradient, held)


def test_log_bias_is_high_for_what_is_too_far_and_down_for_what_is_too_near() -> None:
    target = torch.full((2, 1, 4, 5), 2.0)
    target[:, :, 0] = 0  # void
    prediction = target.clamp(min=1.0) * torch.tensor([2.0, 0.25]).view(2, 1, 1, 1)
    up, down = (value(f"log_bias(direction={way})", "depth", prediction, target) for way in ("up", "down"))
    torch.testing.assert_close(up, torch.tensor([2.0, 0.25]).log(), rtol=2e-3, atol=0)
    torch.testing.assert_close(down, -up)


def test_l1_is_metres_over_valid_pixels() -> None:
    target = torch.full((1, 1, 4, 5), 2.0)
    target[:, :, :2] = 0  # void
    prediction = target + torch.tensor([9.0, 9.0, 0.5, -1.5]).view(1, 1, 4, 1)
    torch.testing.assert_close(value("l1", "depth", prediction, target), torch.tensor([1.0]))


def test_mse_is_square_metres_over_valid_pixels_and_climbs_with_rmse() -> None:
    target = torch.full((2, 1, 4, 5), 2.0)
    target[:, :, :2] = 0  # void
    prediction = target + torch.tensor([9.0, 9.0, 0.5, -1.5]).view(1, 1, 4, 1) * torch.tensor([1.0, 2.0]).view(
        2, 1, 1, 1
    )
    found = value("mse", "depth", prediction, target)
    torch.testing.assert_close(found, torch.tensor([1.25, 5.0]))
    rmse = components.build("tasks", "depth").score(prediction, target)["rmse"]
    torch.testing.assert_close(found.sqrt(), rmse.float())


def test_cosine_is_that_of_logits_and_one_hot() -> None:
    mask, logits = mask_and_logits()
    truth = one_hot(mask.where(mask != VOID, 0), 3).movedim(-1, 1).float()
    wanted = (1 - torch.nn.functional.cosine_similarity(logits, truth, dim=1)) * (mask != VOID)
    found = value("cosine", "segmentation", logits, mask)
    torch.testing.assert_close(found, wanted.mean((1, 2)))
    torch.testing.assert_close(value("cosine", "segmentation", 7 * logits, mask), found)
    label = torch.tensor([0, 1])
    by_hand = 1 - LOGITS[[0, 1], label] / LOGITS.square().sum(1).sqrt()
    torch.testing.assert_close(value("cosine", "classification", LOGITS, label), by_hand)


def test_balanced_cospgd_gives_every_class_of_an_image_the_same_say() -> None:
    mask, logits = torch.zeros(1, 4, 5, dtype=torch.long), torch.zeros(1, 3, 4, 5)
    mask[0, 0, 0], mask[0, 1] = 1, 2  # 1 pixel, 5 pixels, and 14 of class 0
    logits[0, 0] = torch.arange(20.0).view(4, 5) / 10
    each = cross_entropy(logits, mask) * torch.nn.functional.cosine_similarity(
        logits.softmax(1), one_hot(mask, 3).movedim(-1, 1).float(), dim=1
    )
    wanted = torch.stack([each[mask == label].mean() for label in range(3)]).mean()
    torch.testing.assert_close(value("cospgd(balanced=true)", "segmentation", logits, mask), wanted[None])
    assert (value("cospgd", "segmentation", logits, mask) - wanted).abs() > 0.01


def test_balanced_cospgd_is_refused_where_pixels_have_no_class() -> None:
    metres = torch.full((2, 1, 4, 5), 2.0)
    with pytest.raises(UsageError, match=r"cospgd\(balanced=true\) needs classes per pixel, which depth has not"):
        value("cospgd(balanced=true)", "depth", metres, metres)
    with pytest.raises(UsageError, match="which classification has not; take cospgd"):
        value("cospgd(balanced=true)", "classification", LOGITS, torch.tensor([0, 1]))
