"""PAdam: the optimum of a linear model, and step by step an Adam written out from its paper."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import brittle

EPS = 0.05


def middle() -> Tensor:
    return 0.4 + 0.2 * torch.rand(3, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Linear(nn.Module):
    """Two classes; the second leads by a linear function of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.randn(60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def forward(self, images: Tensor) -> Tensor:
        lead = images.flatten(1) @ self.weight
        return torch.stack([-lead / 2, lead / 2], 1)


def test_it_ends_at_the_optimum_of_a_linear_model() -> None:
    model, images = Linear(), middle()
    label = torch.zeros(3, dtype=torch.long)
    found = brittle.attack(model, images, label, attack="padam(steps=40)", eps=EPS)
    torch.testing.assert_close(found, images + EPS * model.weight.sign().view(3, 4, 5))
    found = brittle.attack(model, images, label, attack="padam(steps=200, step=0.1)", eps=EPS, norm="l2")
    gained = (found - images).flatten(1) @ model.weight
    along_signs = EPS * model.weight.abs().sum() / 60**0.5  # each value's step is as long, whatever its gradient
    torch.testing.assert_close(gained, along_signs.expand(3), rtol=0.02, atol=0)


def amsgrad(gradient: object, start: np.ndarray, clean: np.ndarray, rate: float, steps: int) -> np.ndarray:
    """Adam with the largest second moment so far (Reddi et al. 2018), climbing, each iterate brought back."""
    at, first, second, top = start.copy(), np.zeros_like(start), np.zeros_like(start), np.zeros_like(start)
    for number in range(1, steps + 1):
        slope = gradient(at)  # type: ignore[operator]
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        top = np.maximum(top, second)
        at = at + rate * (first / (1 - 0.9**number)) / (np.sqrt(top / (1 - 0.999**number)) + 1e-8)
        at = np.clip(np.clip(at, clean - EPS, clean + EPS), 0, 1)
    return at


@pytest.mark.parametrize("restarts", [1, 2])
def test_its_iterates_are_those_of_adam(restarts: int) -> None:
    images, label = middle(), torch.tensor([0, 1, 0])
    mix = torch.randn(60, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def network(batch: Tensor) -> Tensor:
        return (batch.flatten(1) @ mix).sin() @ mix[:4, :2]

    def gradient(at: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(at).requires_grad_()
        loss = nn.functional.cross_entropy(network(given), label, reduction="sum")
        return torch.autograd.grad(loss, given)[0].numpy()

    def noise() -> Tensor:
        return brittle.attack(network, images, label, attack="padam(steps=1, step=1e-12, keep=last)", eps=EPS)

    found = brittle.attack(network, images, label, attack=f"padam(steps=7, keep=last, restarts={restarts})", eps=EPS)
    wanted = amsgrad(gradient, noise().numpy(), images.numpy(), 0.25 * EPS, 7)
    same = np.allclose(found.numpy(), wanted, atol=1e-9)
    assert same == (restarts == 1), "another restart is another start"


def test_what_it_keeps_is_never_better_than_its_last() -> None:
    images = middle().float()
    layer = nn.Conv2d(3, 4, 3, padding=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer.reset_parameters()

    def network(batch: Tensor) -> Tensor:
        return 5 * (9 * layer(batch)).sin()

    target = network(images).argmax(1)
    wrong = {
        keep: (
            network(
                brittle.attack(
                    network,
                    images,
                    target,
                    attack=f"padam(objective=cosine, steps=30, keep={keep})",
                    task="segmentation",
                    eps=EPS,
                )
            ).argmax(1)
            != target
        )
        .float()
        .mean((1, 2))
        for keep in ("score", "last")
    }
    assert (wrong["score"] >= wrong["last"]).all()
    assert wrong["score"].mean() > 0.3
