"""The engine against recorded values of independent implementations, on this machine."""

import json
import math
import tempfile
import zlib
from collections.abc import Iterator
from functools import cache, partial
from importlib.resources import files as resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import brittle
from brittle.api import load_encoder
from brittle.core import components
from brittle.core.progress import say
from brittle.tasks.parts.depth_losses import gradloss, sigloss
from brittle.types import MASK, Features, frozen
from brittle.types.threat import Norm

STEPS = "steps=20, step=0.25, random_start=false, keep=last"
NORMS: dict[Norm, tuple[str, str]] = {"linf": ("eps", "Linf"), "l2": ("eps_l2", "L2")}
COUNTED = {  # what the official AutoAttack's parts are called in the recorded values, and here
    "apgd-ce": "apgd",
    "apgd-t": "apgd(objective=dlr, targets=9)",
    "fab-t": "fab",
    "square": "square",
    "standard": "autoattack",
}
SPREAD = {"square": 12}  # its count spreads by 2.9 over seeds, and so must theirs: three deviations of the difference


class Line(NamedTuple):
    """One recorded value: the largest difference from it, and how large it may be."""

    name: str
    difference: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.difference <= self.tolerance  # false for nan

    def __str__(self) -> str:
        return (
            f"{'ok ' if self.ok else 'off'}  {self.name:44} largest difference {self.difference:.2g}, tolerance "
            f"{self.tolerance:g}"
        )


def verify(full: bool = False) -> Iterator[Line]:
    """Every oracle in turn, those that take minutes only if ``full``; progress goes to stderr."""
    long = [partial(counted, key, norm) for key in COUNTED for norm in NORMS]
    for oracle in [*QUICK, *(long if full else ())]:
        name = oracle.func.__name__ if isinstance(oracle, partial) else oracle.__name__
        say(f"verifying {' '.join([name, *map(str, getattr(oracle, 'args', ()))])}")
        yield from oracle()


@cache
def recorded(name: str) -> dict[str, Tensor]:
    """The recorded arrays of ``cls_a``, ``dense_a`` or ``backbones_a``."""
    with resources("brittle").joinpath(f"assets/oracles/{name}.npz").open("rb") as stream, np.load(stream) as arrays:
        return {key: torch.from_numpy(np.asarray(value)) for key, value in arrays.items()}


def _gap(computed: Tensor, expected: Tensor, relative: bool = False) -> float:
    if computed.shape != expected.shape:
        return math.inf
    difference = (computed.double() - expected.double()).abs()
    return (difference / expected.double().abs() if relative else difference).max().item()


# --- classification ---------------------------------------------------------------------------------------------------


def classifier() -> nn.Module:
    """The network of ``cls_a``, [0,1] images [B,3,16,16] to logits [B,10]."""
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2048, 10),
    )
    return _filled(network, recorded("cls_a"))


def _filled(network: nn.Module, arrays: dict[str, Tensor]) -> nn.Module:
    network.load_state_dict({key: arrays[f"w{i}"] for i, key in enumerate(network.state_dict())}, strict=True)
    return network


def attacked(attack: str, norm: Norm, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The images of ``cls_a`` (or its ``rows``) after an attack, and whether each is still right."""
    arrays, network = recorded("cls_a"), classifier()
    rows = torch.arange(len(arrays["labels"])) if rows is None else rows
    images, labels, names = (
        arrays["images"][rows].float() / 255,
        arrays["labels"][rows],
        [str(i) for i in rows.tolist()],
    )
    adversarial = brittle.attack(
        network, images, labels, attack=attack, eps=arrays[NORMS[norm][0]].item(), norm=norm, ids=names
    )
    with torch.no_grad():
        return adversarial, network(adversarial).argmax(1) == labels


def pgd() -> Iterator[Line]:
    """PGD against torchattacks'. In l2 it divides by the norm of a mean loss plus 1e-10, which shows where gradients
    are tiny. The image that differs most is left out: the sign of a gradient that is all but 0 hangs on how a processor
    rounds, and one that turns leads elsewhere."""
    arrays = recorded("cls_a")
    rows: list[tuple[str, Norm, float]] = [("pgd20", "linf", 1e-6), ("pgd20_l2", "l2", 5e-3)]
    for key, norm, tolerance in rows:
        images, robust = attacked(f"pgd({STEPS})", norm)
        gaps = sorted(map(_gap, images, arrays[f"{key}_images"]))
        yield Line(f"{key} images but one", gaps[-2], tolerance)
        yield Line(f"{key} images that stay right", float((robust != arrays[f"robust:{key}"]).sum()), 0)


def counted(key: str, norm: Norm, rows: Tensor | None = None) -> Iterator[Line]:
    """How many images (or of ``rows``) stay right under a part of AutoAttack, against the official one; random starts
    differ."""
    _, robust = attacked(COUNTED[key], norm, rows)
    expected = recorded("cls_a")[f"robust:{NORMS[norm][1]}/{key}"]
    expected = expected if rows is None else expected[rows]
    yield Line(
        f"{key} {norm}: how many images stay right", abs(int(robust.sum()) - int(expected.sum())), SPREAD.get(key, 2)
    )


# --- dense tasks ------------------------------------------------------------------------------------------------------


def dense_attacks() -> Iterator[Line]:
    """SegPGD and CosPGD against their authors' step functions."""
    arrays = recorded("dense_a")
    layers = (
        nn.Conv2d(3, 16, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 6, 1),
    )
    network = _filled(nn.Sequential(*layers), arrays)
    images, target, eps = arrays["images"].float() / 255, arrays["labels"].long(), arrays["eps"].item()
    for key in ("segpgd", "cospgd"):
        adversarial = brittle.attack(network, images, target, attack=f"{key}({STEPS})", task="segmentation", eps=eps)
        yield Line(f"{key} images", _gap(adversarial, arrays[key]), 1e-6)


def segmentation_metrics() -> Iterator[Line]:
    """mIoU, mean accuracy (recall) and pixel accuracy, with void pixels and an absent class."""
    arrays, task = recorded("dense_a"), components.build("tasks", "segmentation")
    guess, target = arrays["metric_pred"].long(), MASK.scored(arrays["metric_target"].long(), 0)
    logits = nn.functional.one_hot(guess, int(max(guess.max(), target.max())) + 1).movedim(-1, 1).float()
    metrics = task.summarise({key: value.sum(0) for key, value in task.score(logits, target).items()})
    for key in ("miou", "macc", "aacc"):
        yield Line(key, abs(metrics[key] - arrays[key].item()), 1e-6)


def depth() -> Iterator[Line]:
    """Depth's losses and metrics per image, with invalid pixels; relative differences."""
    arrays, task = recorded("dense_a"), components.build("tasks", "depth")
    prediction, target = arrays["depth_pred"][:, None], arrays["depth_target"][:, None]
    statistics = task.score(prediction, target)
    values = {key: statistics[key] for key in ("rmse", "absrel", "delta1")}
    valid = task.valid(target)
    values |= {"sigloss": sigloss(prediction, target, valid), "gradloss": gradloss(prediction, target, valid)}
    for key, value in values.items():
        yield Line(f"{key} (relative)", _gap(value, arrays[f"{key}_per_image"], relative=True), 1e-5)
    pooled = task.summarise({key: value.sum(0) for key, value in statistics.items()})["rmse_pooled"]
    yield Line("rmse_pooled (relative)", abs(pooled / arrays["rmse_pooled"].item() - 1), 1e-5)


# --- features ---------------------------------------------------------------------------------------------------------


def state_of(name: str) -> dict[str, Tensor]:
    """Weights with the names and shapes of the authors' checkpoint of an architecture, computed from each name by a
    fixed rule."""
    keys = json.loads(resources("brittle").joinpath("assets/oracles/backbone_keys_a.json").read_text(encoding="utf8"))[
        name
    ]
    return {key: _weights(key, shape) for key, shape in keys.items()}


def _weights(key: str, shape: list[int]) -> Tensor:
    if key == "mask_token":
        return torch.zeros(shape)
    noise = torch.from_numpy(np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32))
    if key.endswith("weight") and "norm" in key:
        return 1 + 0.1 * noise
    return 0.3 + 0.3 * noise if "gamma" in key else 0.05 * noise


def cases() -> list[str]:
    """``ARCHITECTURE@HEIGHTxWIDTH`` of every recorded feature."""
    return sorted({key.split("/")[0] for key in recorded("backbones_a")})


def image(case: str) -> Tensor:
    """The image of a case, [1,3,H,W] in [0,1]."""
    height, width = map(int, case.split("@")[1].split("x"))
    return torch.from_numpy(np.random.RandomState(0).rand(1, 3, height, width).astype(np.float32))


def feature_gap(case: str, computed: Features) -> float:
    """The largest difference of the CLS token and of 16 patch tokens from the recorded ones."""
    cls, patches, index, grid = (
        recorded("backbones_a")[f"{case}/{name}"] for name in ("cls", "patches", "patch_index", "grid")
    )
    if tuple(computed.grid.shape[-2:]) != tuple(grid.tolist()):
        return math.inf
    return max(_gap(computed.pooled[0], cls), _gap(computed.grid.flatten(2)[0].T[index], patches))


def features() -> Iterator[Line]:
    """DINO and DINOv2, loaded through ``file:``, against their authors' code on the same weights and image."""
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            path = Path(folder) / f"{case.split('@')[0]}.pth"
            torch.save(state_of(path.stem), path)
            encoder = load_encoder(f"file:{path}")
            with frozen(encoder), torch.no_grad():
                yield Line(f"file: {case} features", feature_gap(case, encoder(image(case))), 1e-4)


QUICK = (pgd, dense_attacks, segmentation_metrics, depth, features)
