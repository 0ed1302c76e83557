"""Models that predict 0 metres or less: every loss is a number there, steeper the further off; void never counts."""

import pytest
import torch
from torch import Tensor

import brittle
from brittle.attacks.parts.climb import Climb
from brittle.core import components
from brittle.core.errors import CellError
from brittle.tasks.depth import Depth
from brittle.tasks.parts.depth_losses import SHIFT, logarithm
from brittle.types import Batch, Model
from brittle.types.threat import Threat

IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TRUTH = torch.full((4, 1, 8, 8), 1.0)


def _below(images: Tensor) -> Tensor:
    return 6 * (images.mean(1, keepdim=True) - 0.42)


def _rmse(images: Tensor) -> float:
    return (_below(images) - TRUTH).square().flatten(1).mean(1).sqrt().mean().item()


def test_the_logarithm_goes_on_below_zero() -> None:
    metres = torch.tensor([-2.0, -1.0, -1e-4, 0.0, 0.5, 3.0], requires_grad=True)
    value = logarithm(metres)
    assert torch.equal(value[3:], (metres[3:] + SHIFT).log())
    assert value[1].item() == pytest.approx(torch.tensor(SHIFT).log().item() - 1 / SHIFT)
    assert (value.diff() > 0).all()
    (slope,) = torch.autograd.grad(value.sum(), metres)
    assert (slope > 0).all()


@pytest.mark.parametrize(
    ("attack", "least"),
    [
        ("pgd(keep=best)", 1.4),
        ("pgd(keep=last)", 1.4),
        ("depthpgd", 1.4),
        ("cospgd", 1.4),
        ("pgd(objective=log_bias(direction=down))", 1.4),
        ("pgd(objective=silog)", 1.3),
        ("apgd(steps=20)", 1.4),
        ("depth_worst(steps=10)", 1.4),
        ("square(queries=50)", 1.25),
    ],
)
def test_attacks_do_their_harm_below_zero(attack: str, least: float) -> None:
    assert 1.1 < _rmse(IMAGES) < 1.2
    assert _rmse(brittle.attack(_below, IMAGES, TRUTH, attack=attack, task="depth", eps=0.1)) > least


@pytest.mark.parametrize("attack", ["log_bias", "log_bias(direction=down)", "silog", "l1", "task_loss", "cospgd"])
@pytest.mark.parametrize("there", [-5.0, -SHIFT, 0.0, torch.inf, torch.nan])
def test_void_never_counts(attack: str, there: float) -> None:
    void = torch.arange(8) < 4
    truth = torch.where(void, 0.0, TRUTH)

    def model(images: Tensor) -> Tensor:
        return torch.where(void, there + 0.1 * images[:, :1], 1 + images[:, :1])

    def other(images: Tensor) -> Tensor:
        return torch.where(void, 3.0, 1 + images[:, :1])

    task, values = components.build("tasks", "depth"), []
    for head in (model, other):
        images = IMAGES.clone().requires_grad_()
        climbed = components.build("objectives", attack, Model(task, head), Batch(IMAGES, truth, list("abcd")))
        value = climbed(images, 0.0)
        values.append((value.detach(), torch.autograd.grad(value.sum(), images)[0][..., ~void]))
    torch.testing.assert_close(*values, rtol=0, atol=0)


def test_agreement_is_a_share_below_zero_too() -> None:
    _, agreement = components.build("tasks", "depth").agreement(
        torch.tensor([[[[-3.0, 0.0, 1.0]]]]), torch.ones(1, 1, 1, 3)
    )
    assert ((agreement > 0) & (agreement <= 1)).all()


class _Odd(Depth):
    """Depth whose loss is no number below 0."""

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return prediction.flatten(1).mean(1).log()


def test_a_loss_that_is_no_number_is_ranked_by_damage() -> None:
    batch = Batch(IMAGES[:1], TRUTH[:1], ["a"])
    levels = [2.0, -3.0, 2.5, -1.0]  # 1, 4, 1.5 and 2 metres off
    model = Model(_Odd(1e-3, 10.0), lambda images: 10 * images[:, :1] - 5)

    def objective(images: Tensor, _progress: float) -> Tensor:
        return model(images).flatten(1).mean(1).square()

    climb = Climb(lambda *_: objective, model, batch, Threat("linf", 1.0), "best")
    for level in levels:
        climb.last(torch.full_like(batch.images, (level + 5) / 10), 0.0)
    assert climb.found.unique().tolist() == pytest.approx([0.2])


def test_a_loss_that_is_no_number_is_not_called_the_models_fault() -> None:
    with pytest.raises(
        CellError, match="the loss is nan after 0% of the steps; all predictions are numbers, so look at"
    ):
        brittle.attack(lambda x: x[:, :1] - 5, IMAGES, TRUTH, task=_Odd(1e-3, 10.0))
