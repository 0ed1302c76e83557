"""Heads that score the same images share one pass of the encoder, and get what each gets alone."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import brittle
from brittle.core import components
from brittle.evaluation import measure, remembered
from brittle.evaluation.remembered import Remembered
from brittle.types import Encoder, Features, Model

DATA = "scenes(train=24, val=12, test=12, size=16)"
TASKS = ["classification", "depth", "segmentation"]


class Eight(Encoder):
    """Counts the images it sees."""

    def __init__(self) -> None:
        super().__init__(6, 4, size=16, mean=[0.5] * 3, std=[0.5] * 3, about={})
        self.project = nn.Conv2d(3, 6, 4, stride=4)
        self.seen = 0

    def forward(self, images: Tensor) -> Features:
        self.seen += len(images)
        grid = self.project(images)
        return Features(grid.mean((2, 3)), grid)


class Writing(nn.Module):
    """A head that writes into what it reads."""

    def forward(self, features: Features, _size: tuple[int, int]) -> Tensor:
        return features.pooled.mul_(2)


@pytest.fixture
def encoder() -> Eight:
    torch.manual_seed(0)
    return Eight().eval().requires_grad_(False)


def model_of(encoder: Encoder, head: nn.Module) -> Model:
    return Model(components.build("tasks", "classification"), head, encoder)


def test_one_pass_of_three_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clean pass and one attack that looks at no head, for as many tasks as there are."""
    how = {"attacks": ["embed(tokens=cls, steps=3)"], "limit": 8, "protocol": "standard(heads=quick)", "checks": "none"}
    run = brittle.run(["pixels(size=16)"], [DATA], tasks=TASKS, output_dir=tmp_path / "together", **how)  # type: ignore[arg-type]
    passes = {(r.cell.task, r.cell.attack is None): (r.cost["forwards"], r.cost["backwards"]) for r in run}
    clean = [passes[task, True][0] for task in TASKS]
    attacked = [passes[task, False] for task in TASKS]
    assert Counter(clean)[0] == 2, clean
    assert Counter(attacked)[(0, 0)] == 2, attacked
    assert max(attacked)[1] > 0
    alone: dict[tuple[str, bool], dict[str, float]] = {}
    for task in TASKS:
        monkeypatch.setattr(measure, "REMEMBERED", Remembered())
        for r in brittle.run(["pixels(size=16)"], [DATA], tasks=[task], output_dir=tmp_path / task, **how):  # type: ignore[arg-type]
            alone[task, r.cell.attack is None] = dict(r.metrics)
            assert r.cost["forwards"] > 0 or r.cell.attack
    assert {(r.cell.task, r.cell.attack is None): dict(r.metrics) for r in run} == alone


def test_other_images_are_looked_at_again(encoder: Eight) -> None:
    held, head = Remembered(), Writing()
    images = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        first = held.predict(model_of(encoder, head), ["a", "b", "c"], images)
        assert torch.equal(held.predict(model_of(encoder, head), ["a", "b", "c"], images.clone()), first)
        assert encoder.seen == 3
        changed = images.clone()
        changed[2, 0, 0, 0] += 1e-3
        assert not torch.equal(held.predict(model_of(encoder, head), ["a", "b", "c"], changed), first)
        assert encoder.seen == 6
        assert torch.equal(held.predict(model_of(encoder, head), ["a", "b", "c"], images), first), "not what was last"
        held.predict(model_of(encoder, head), ["a", "b", "d"], images)
        assert encoder.seen == 9


def test_other_encoders_and_precisions_are_not_mistaken(encoder: Eight) -> None:
    held, head, images = Remembered(), Writing(), torch.rand(2, 3, 16, 16)
    other = Eight().eval()
    with torch.no_grad():
        first = held.predict(model_of(encoder, head), ["a", "b"], images)
        assert not torch.equal(held.predict(model_of(other, head), ["a", "b"], images), first)
        model = model_of(encoder, head)
        with model.using(bf16=True):
            assert not torch.equal(held.predict(model, ["a", "b"], images), first)


def test_memory_is_bounded(encoder: Eight, monkeypatch: pytest.MonkeyPatch) -> None:
    held, head = Remembered(), Writing()
    images = torch.rand(4, 1, 3, 16, 16)
    one = images[0].nbytes + sum(part.nbytes for part in encoder(images[0]))
    monkeypatch.setattr(remembered, "ROOM", 2 * one)
    with torch.no_grad():
        for number, image in enumerate(images):
            held.predict(model_of(encoder, head), [str(number)], image)
        encoder.seen = 0
        for number in (3, 2, 0):
            held.predict(model_of(encoder, head), [str(number)], images[number])
    assert encoder.seen == 1, "the two last were held"
