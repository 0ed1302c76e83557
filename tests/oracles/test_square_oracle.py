"""Square Attack against the official AutoAttack's recorded verdicts (cls_a.npz), and without the fault that those have."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import brittle

KEYS = {"linf": ("eps", "robust:Linf/square"), "l2": ("eps_l2", "robust:L2/square")}


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


def robust(recorded: dict[str, Tensor], network: nn.Module, norm: str, index: Tensor, attack: str) -> tuple[int, int]:
    """How many of the images are still right: ours, and recorded."""
    size, key = KEYS[norm]
    images, labels = recorded["images"][index].float() / 255, recorded["labels"][index]
    names = [str(i) for i in index.tolist()]
    found = brittle.attack(network, images, labels, attack=attack, eps=recorded[size].item(), norm=norm, ids=names)
    with torch.no_grad():
        return int((network(found).argmax(1) == labels).sum()), int(recorded[key][index].sum())


def test_as_autoattack_has_it_it_is_as_strong_as_recorded(recorded, network) -> None:
    ours, theirs = robust(recorded, network, "linf", torch.arange(200), "square(variant=autoattack)")
    assert abs(ours - theirs) <= 2


def test_as_the_paper_has_it_it_is_stronger(recorded, network) -> None:
    """The recorded attack never paints the last row and column, an eighth of such a picture."""
    ours, theirs = robust(recorded, network, "linf", torch.arange(60), "square")
    assert ours <= theirs - 3


def test_l2_spares_what_the_recorded_attack_spares(recorded, network) -> None:
    """Of those that gradients do break: there a budget overstepped would show."""
    index = (~recorded["robust:L2/apgd-t"]).nonzero().flatten()
    ours, theirs = robust(recorded, network, "l2", index, "square(queries=2000)")
    assert len(index) == theirs == 10
    assert abs(ours - theirs) <= 2
