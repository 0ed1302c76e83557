"""APGD against the official one's recorded verdicts, and CosPGD against its official step function."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import brittle


@pytest.fixture(scope="module")
def recorded():
    return {key: torch.from_numpy(value) for key, value in np.load(Path(__file__).parent / "cls_a.npz").items()}


@pytest.mark.parametrize(("key", "attack"), [("apgd-ce", "apgd"), ("apgd-t", "apgd(objective=dlr, targets=9)")])
@pytest.mark.parametrize(("name", "norm", "size"), [("Linf", "linf", "eps"), ("L2", "l2", "eps_l2")])
def test_as_many_images_stay_right_as_under_the_official_attack(recorded, key, attack, name, norm, size) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 10)
    )
    network.load_state_dict({key: recorded[f"w{i}"] for i, key in enumerate(network.state_dict())}, strict=True)
    images, labels = recorded["images"].float() / 255, recorded["labels"]
    rows = torch.ones(200, dtype=torch.bool)
    if norm == "l2" and "targets" in attack:  # nearly all stay right, which takes long: those that fell, and a part of the others
        rows = ~recorded[f"robust:{name}/{key}"] | (torch.arange(200) % 8 == 0)
    found = brittle.attack(network, images[rows], labels[rows], attack=attack, eps=recorded[size].item(), norm=norm)
    with torch.no_grad():
        robust = network(found).argmax(1) == labels[rows]
    wanted = recorded[f"robust:{name}/{key}"][rows]
    assert abs(int(robust.sum()) - int(wanted.sum())) <= 2, f"{robust.sum()} stay right, {wanted.sum()} recorded"


def test_cospgd_is_the_official_one() -> None:
    recorded = {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(Path(__file__).parent / "dense_a.npz").items()}
    network = nn.Sequential(nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 6, 1))
    network.load_state_dict({key: recorded[f"w{i}"] for i, key in enumerate(network.state_dict())}, strict=True)
    eps, step, steps = (recorded[key].item() for key in ("eps", "step", "steps"))
    attack = f"cospgd(steps={steps}, step={step / eps}, random_start=false, keep=last)"
    found = brittle.attack(
        network, recorded["images"].float() / 255, recorded["labels"].long(), attack=attack, task="segmentation", eps=eps
    )
    assert (found - recorded["cospgd"]).abs().max() <= 1e-6
