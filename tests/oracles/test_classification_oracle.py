"""PGD against torchattacks' recorded pictures and verdicts (cls_a.npz: see the notes on the recorded values there)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import brittle


@pytest.fixture(scope="module")
def recorded():
    return {key: torch.from_numpy(value) for key, value in np.load(Path(__file__).parent / "cls_a.npz").items()}


@pytest.fixture(scope="module")
def network(recorded) -> nn.Module:
    layers = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 10)
    )
    layers.load_state_dict({key: recorded[f"w{i}"] for i, key in enumerate(layers.state_dict())}, strict=True)
    return layers


@pytest.fixture(scope="module")
def images(recorded) -> Tensor:
    return recorded["images"].float() / 255


def right(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return network(images).argmax(1) == labels


def test_clean_predictions_are_the_recorded_ones(recorded, network, images) -> None:
    assert torch.equal(right(network, images, recorded["labels"]), recorded["clean"])


@pytest.mark.parametrize(("key", "norm", "size", "tolerance"), [("pgd20", "linf", "eps", 1e-6), ("pgd20_l2", "l2", "eps_l2", 5e-3)])
def test_pgd_is_torchattacks_pgd(recorded, network, images, key, norm, size, tolerance) -> None:
    spec = "pgd(steps=20, step=0.25, random_start=false, keep=last)"
    found = brittle.attack(network, images, recorded["labels"], attack=spec, eps=recorded[size].item(), norm=norm)
    gap = (found[:16] - recorded[f"{key}_images"]).abs().max().item()
    assert gap <= tolerance, f"{key}: images differ by {gap:.2e}"
    robust = right(network, found, recorded["labels"])
    assert torch.equal(robust, recorded[f"robust:{key}"]), f"{(robust != recorded[f'robust:{key}']).sum()} of 200 differ"


def test_keeping_the_best_iterate_is_never_weaker_than_the_recorded_attack(recorded, network, images) -> None:
    spec = "pgd(steps=20, step=0.25, random_start=false, keep=best)"
    found = brittle.attack(network, images, recorded["labels"], attack=spec, eps=recorded["eps"].item())
    robust = right(network, found, recorded["labels"])
    assert not (robust & ~recorded["robust:pgd20"]).any()
