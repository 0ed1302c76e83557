"""Every entry point gives the same bits whatever is set in the caller's process, and leaves all of it as it was."""

import logging
import os
import random
import warnings
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

import brittle
from brittle.core.errors import UsageError
from brittle.types.target import STANDARD

IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TARGETS = {
    "classification": torch.arange(4),
    "segmentation": torch.arange(4).view(4, 1, 1).expand(4, 8, 8).contiguous(),
    "depth": torch.full((4, 1, 8, 8), 2.0),
}
WEIGHTS = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
MODELS: dict[str, Callable[[Tensor], Tensor]] = {
    "classification": lambda x: x.mean((2, 3)) @ WEIGHTS + 0.01 * torch.rand(1),  # random, and of the default type
    "segmentation": lambda x: torch.einsum("bchw,ck->bkhw", x, WEIGHTS),
    "depth": lambda x: 1 + x.mean(1, keepdim=True),
}
DATA = "scenes(train=16, val=8, test=8, size=8)"


@contextmanager
def _double() -> Generator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def _placed() -> Generator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def _moved() -> Generator[None]:
    """Random states, a working folder, deterministic flags and a log level of the caller's own."""
    folder, level = Path.cwd(), logging.getLogger().level
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    os.chdir("/")
    torch.use_deterministic_algorithms(True, warn_only=True)
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        yield
    finally:
        os.chdir(folder)
        torch.use_deterministic_algorithms(False)
        logging.getLogger().setLevel(level)


WORLDS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "float64 default": _double,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default device": _placed,
    "device context": lambda: torch.device("meta"),
    "own states": _moved,
}


def _attacks() -> list[Tensor]:
    return [
        brittle.attack(MODELS[task], IMAGES, target, attack=attack, task=task)
        for task, target in TARGETS.items()
        for attack in ("pgd(steps=2)", "square(queries=5)", "noise")
    ]


def _check() -> list[object]:
    return [
        brittle.check(MODELS[task], IMAGES, target, attack="pgd(steps=2)", task=task)
        for task, target in TARGETS.items()
    ]


def _load() -> list[Tensor]:
    encoder = brittle.load_encoder("pixels(size=8)")
    samples = [brittle.load_dataset(DATA)[i] for i in range(2)]
    targets = [value for sample in samples for value in sample.targets.values()]
    return [*encoder.state_dict().values(), *(sample.image for sample in samples), *targets]


def _run(folder: Path) -> list[object]:
    attacks = ["pgd(steps=2)", "curve(attack=pgd(steps=2))", "universal(steps=2, pictures=8)"]
    tasks = ["classification", "segmentation", "depth", "representation"]
    results = brittle.run(["pixels(size=8)"], [DATA], tasks, attacks[:2], output_dir=folder, checks="none")
    results += brittle.run(["pixels(size=8)"], [DATA], tasks[:1], attacks[2:], output_dir=folder, checks="fast")
    return [(result.failed, result.metrics, result.intervals, result.curve) for result in results]


OWN = """
from torch import nn

def make():
    module = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.BatchNorm2d(4), nn.Dropout(0.5))
    nn.init.ones_(module[0].weight)
    module.size = 8
    return module
"""


def _finetune(folder: Path) -> bytes:
    folder.mkdir()
    (folder / "own.py").write_text(OWN)
    encoder, method = (
        f"py:{folder / 'own.py'}:make",
        "deacl(steps=2, batch=4, attack='pgd(objective=embedding, steps=1, keep=last)')",
    )
    return save(load_file(brittle.finetune(method, encoder, DATA, output_dir=folder)))  # the card names the folder


def _same(one: object, other: object) -> bool:
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other))
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and one.device == other.device and torch.equal(one, other)
    return one == other


def _states() -> list[object]:
    return [
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
        torch.get_rng_state().numpy().tobytes(),
        np.random.get_state()[1].tobytes(),  # type: ignore[union-attr]
        random.getstate(),
        Path.cwd(),
        dict(os.environ),
        list(warnings.filters),
        [logging.getLogger().level, *logging.getLogger().handlers],
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("word", ["attack", "check", "load", "run", "finetune"])
@pytest.mark.parametrize("name", WORLDS)
def test_a_world_decides_no_bit_and_stays_as_it_was(
    name: str, word: str, tmp_path: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(place: str) -> object:
        monkeypatch.setenv("BRITTLE_CACHE", str(tmp_path / place / "cache"))  # measured, not looked up
        words: dict[str, Callable[[], object]] = {
            "attack": _attacks,
            "check": _check,
            "load": _load,
            "run": lambda: _run(tmp_path / place),
            "finetune": lambda: _finetune(tmp_path / place),
        }
        return words[word]()

    wanted = act("plain")
    if word == "run":
        assert all(row[0] is None for row in wanted)  # type: ignore[attr-defined, index]
    monkeypatch.setenv("BRITTLE_CACHE", str(tmp_path / "world" / "cache"))
    with WORLDS[name]():
        before = _states()
        found = act("world")
        assert _states() == before
    assert _same(found, wanted)


@pytest.mark.parametrize("kind", STANDARD)
def test_tensors_made_in_inference_mode_are_as_good(kind: str) -> None:
    task = {"label": "classification", "mask": "segmentation", "depth": "depth"}[kind]
    with torch.inference_mode():
        images, target = IMAGES.clone(), TARGETS[task].clone()
    found = brittle.attack(MODELS[task], images, target, task=task, attack="pgd(steps=2)")
    assert torch.equal(found, brittle.attack(MODELS[task], IMAGES, TARGETS[task], task=task, attack="pgd(steps=2)"))
    assert not found.is_inference()


def test_what_an_attack_leaves_after_an_error_is_what_was() -> None:
    before = _states()
    with _double(), pytest.raises(UsageError):
        brittle.attack(MODELS["classification"], IMAGES * 2, TARGETS["classification"])
    assert _states() == before


@pytest.mark.parametrize("seed", [True, 1.5, "a", None, [1]])
def test_a_seed_is_a_whole_number(seed: object) -> None:
    with pytest.raises(UsageError, match="give a whole number"):
        brittle.attack(MODELS["classification"], IMAGES, TARGETS["classification"], seed=seed)  # type: ignore[arg-type]


def test_a_call_inside_a_call_ends() -> None:
    def attack(model: nn.Module, batch: object, _threat: object, _rng: object) -> Tensor:
        return brittle.attack(model, batch.images, batch.target, attack="pgd(steps=1)")  # type: ignore[attr-defined]

    assert (
        brittle.attack(MODELS["classification"], IMAGES, TARGETS["classification"], attack=attack).shape == IMAGES.shape
    )
