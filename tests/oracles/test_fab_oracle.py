"""FAB against the official AutoAttack's recorded verdicts of its targeted FAB (cls_a.npz): as many images robust, within 2."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import brittle


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    return {key: torch.from_numpy(value) for key, value in np.load(Path(__file__).parent / "cls_a.npz").items()}


@pytest.fixture(scope="module")
def network(recorded) -> nn.Module:
    layers = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 10)
    )
    layers.load_state_dict({key: recorded[f"w{i}"] for i, key in enumerate(layers.state_dict())}, strict=True)
    return layers


def some(verdict: Tensor, beaten: int, robust: int) -> Tensor:
    """Indices of the first so many of each recorded verdict."""
    return torch.cat([(~verdict).nonzero().flatten()[:beaten], verdict.nonzero().flatten()[:robust]])


def agree(recorded: dict[str, Tensor], network: nn.Module, norm: str, rows: Tensor, settings: str = "", seed: int = 0) -> None:
    eps = recorded["eps" if norm == "linf" else "eps_l2"].item()
    images, labels = recorded["images"][rows].float() / 255, recorded["labels"][rows]
    found = brittle.attack(network, images, labels, attack=f"fab{settings}", eps=eps, norm=norm, seed=seed)  # type: ignore[arg-type]
    change = (found - images).double().flatten(1)
    assert (change.abs().amax(1) if norm == "linf" else change.norm(dim=1)).max() <= eps
    with torch.no_grad():
        robust = network(found).argmax(1) == labels
    assert torch.equal((change != 0).any(1), ~robust), "an image was changed for nothing, or beaten unseen"
    wanted = recorded[f"robust:{'Linf' if norm == 'linf' else 'L2'}/fab-t"][rows]
    assert abs(int(robust.sum()) - int(wanted.sum())) <= 2, f"{int(robust.sum())} robust, recorded {int(wanted.sum())} of {len(rows)}"


def test_linf_leaves_as_many_robust_as_recorded(recorded, network) -> None:
    agree(recorded, network, "linf", torch.arange(200))


def test_l2_leaves_as_many_robust_as_recorded(recorded, network) -> None:
    agree(recorded, network, "l2", some(recorded["robust:L2/fab-t"], 10, 50))  # all those beaten; each robust one costs 900 steps


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_any_seed_does(recorded, network, norm, seed) -> None:
    rows = some(recorded[f"robust:{'Linf' if norm == 'linf' else 'L2'}/fab-t"], 10, 8)
    agree(recorded, network, norm, rows, "(steps=40, restarts=2)", seed)
