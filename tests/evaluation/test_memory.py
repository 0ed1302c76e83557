"""Memory that runs out while features are made, heads judged or a perturbation learnt is met by doing less at once;
what cannot be halved says so in one line."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import brittle
from brittle.attacks.parts.halving import NoMemory
from brittle.core import components
from brittle.evaluation import looks, probe
from brittle.evaluation.heads import features
from brittle.types import Batch, Encoder, Features

IMAGES = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 4
ERRORS = [torch.OutOfMemoryError("CUDA"), RuntimeError("[enforce fail] DefaultCPUAllocator: no"), MemoryError()]


class Small(Encoder):
    """An encoder that has room for a few images only."""

    def __init__(self, most: int, error: Exception) -> None:
        super().__init__(3, 8, size=8, mean=(0.5,) * 3, std=(0.25,) * 3, about={})
        self.most, self.error = most, error

    def forward(self, images: Tensor) -> Features:
        if len(images) > self.most:
            raise self.error
        grid = torch.nn.functional.avg_pool2d(self.normalise(images), 8)
        return Features(grid.mean((2, 3)), grid)


def _features(most: int, error: Exception, what: str) -> list[tuple[Features, Tensor]]:
    batch = Batch(IMAGES, LABELS, [str(i) for i in range(8)])
    return list(features(Small(most, error), f"{what} {most} {error!r}", [batch], "features", 8))


@pytest.mark.fault("F18", "F19")
@pytest.mark.parametrize("error", ERRORS)
def test_features_are_made_of_fewer_at_once(fresh: object, error: Exception) -> None:
    (few, _), (whole, _) = (_features(most, error, "a")[0] for most in (3, 8))
    assert torch.equal(few.pooled, whole.pooled)
    assert torch.equal(few.grid, whole.grid)
    with pytest.raises(NoMemory, match="single image"):
        _features(0, error, "b")


class Roomy(torch.nn.Module):
    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.line = most, torch.nn.Linear(3, 4)

    def forward(self, seen: Features, _size: object) -> Tensor:
        if len(seen.pooled) > self.most:
            raise torch.OutOfMemoryError("CUDA")
        return self.line(seen.pooled)


def test_heads_are_judged_on_fewer_at_once_and_a_step_of_the_fit_says_that_it_cannot_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, seen = components.build("tasks", "classification"), Small(8, ERRORS[0])(IMAGES)
    head = Roomy(8)
    whole = looks.evaluate(task, head, 8, [(seen, LABELS)])
    head.most = 1
    assert looks.evaluate(task, head, 8, [(seen, LABELS)]) == whole
    monkeypatch.setattr(task, "head", lambda *_: Roomy(1))
    with pytest.raises(NoMemory, match="out of memory in a step of 8 images in the fit of a classification head"):
        probe.fit(task, 3, 8, 4, [(seen, LABELS)], [(seen, LABELS)])


WEIGHTS = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


def _model(most: int, error: Exception) -> Callable[[Tensor], Tensor]:
    def model(images: Tensor) -> Tensor:
        if len(images) > most:
            raise error
        return images.mean((2, 3)) @ WEIGHTS

    return model


@pytest.mark.fault("F18", "F19")
@pytest.mark.parametrize("attack", ["pgd(steps=2)", "universal(steps=3)", "square(queries=3)", "fab(steps=2)"])
@pytest.mark.parametrize("error", ERRORS)
def test_attacks_in_memory_are_made_of_fewer_at_once(attack: str, error: Exception) -> None:
    few, whole = (brittle.attack(_model(most, error), IMAGES, LABELS, attack=attack) for most in (3, 8))
    torch.testing.assert_close(few, whole)


@pytest.mark.parametrize("task", ["classification", "representation"])
def test_an_encoder_is_checked_on_fewer_at_once(task: str) -> None:
    few, whole = (brittle.check(Small(most, ERRORS[0]), IMAGES, attack="embed(steps=2)", task=task) for most in (3, 8))
    assert [finding.verdict for finding in few] == [finding.verdict for finding in whole]
