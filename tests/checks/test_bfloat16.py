"""An attack that bfloat16 misleads is told from one that it does not, where the gradient alone does not show it."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from brittle.attacks.parts.run import attacked
from brittle.checks.bfloat16 import bfloat16
from brittle.checks.gradient import gradient
from brittle.checks.parts.evidence import Evidence
from brittle.core import components
from brittle.evaluation.scoring import Scoring
from brittle.types import Batch, Encoder, Features, Model
from brittle.types.attack_log import AttackLog
from brittle.types.rng import Rng
from brittle.types.threat import Threat


class Raised(Encoder):
    """Two convolutions; what comes out of the first goes through a sum with a large number, which in bfloat16 rounds
    it to multiples of a 256th of that, and so decides wrongly what the activation lets through."""

    def __init__(self, offset: float) -> None:
        super().__init__(24, 4, size=16, mean=(0.5,) * 3, std=(0.25,) * 3, about={})
        self.first, self.second, self.offset = nn.Conv2d(3, 12, 3, 2, 1), nn.Conv2d(12, 24, 3, 2, 1), offset

    def forward(self, images: Tensor) -> Features:
        grid = self.second((self.first(self.normalise(images)) + self.offset - self.offset).relu())
        return Features(grid.mean((2, 3)), grid)


class Flat(nn.Module):
    """A linear head on all patches."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(24 * 16, 4)

    def forward(self, features: Features, _size: tuple[int, int]) -> Tensor:
        return self.linear(features.grid.flatten(1))


def _images(count: int, seed: int) -> Batch:
    """Noise with one quarter brighter: which one is the label."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 + 0.25 * torch.rand(count, 3, 2, 8, 2, 8, generator=generator)
    label = torch.randint(0, 4, (count,), generator=generator)
    images[torch.arange(count), :, label // 2, :, label % 2] += 0.12
    return Batch(images.reshape(count, 3, 16, 16), label, [str(i) for i in range(count)])


def _evidence(offset: float, attack: str = "pgd(steps=10)", how: str = "bf16") -> Evidence:
    """Of an attack on a trained model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Model(components.build("tasks", "classification"), Flat(), Raised(offset))
    optimiser, known = torch.optim.Adam(model.parameters(), lr=3e-3), _images(128, 1)
    for _ in range(40):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(known.images), known.target).backward()
        optimiser.step()
    batch, threat, log = _images(24, 0), Threat("linf", 16 / 255), AttackLog()
    scoring = Scoring(model.eval().requires_grad_(False), threat, 24)
    assert (model(batch.images).argmax(1) == batch.target).all()
    images = attacked(model, attack, batch, threat, Rng(0, batch.ids), precision=how, log=log)
    scoring.add(batch, log.attacked(images))
    return scoring.evidence(components.complete("attacks", attack), 0, how, scoring.scores(), full=True)


def test_an_attack_that_bfloat16_misleads_is_told_from_one_that_it_does_not() -> None:
    sound, misled = _evidence(0), _evidence(128)
    assert (sound.metrics["accuracy"], misled.metrics["accuracy"]) == (0, 1)
    assert bfloat16(sound).verdict == "ok"
    assert _cosine(sound) > 0.99
    assert gradient(misled).verdict == "ok"  # it is there, and wrong
    found = bfloat16(misled)
    assert (found.verdict, found.value) == ("fail", 1)
    assert found.why.startswith("100.0% wrong with float32, 0.0% wrong with this attack (6 images); ")
    assert _cosine(misled) < 0.9
    assert bfloat16(_evidence(128, how="fp32")).why == "the attack ran in float32"


def test_luck_is_no_warning_where_gradients_agree() -> None:
    """One image of six that float32 alone beats."""
    for offset, verdict in ((0, "ok"), (128, "warn")):
        made = _evidence(offset)
        images = made.again(made.batch, precision="fp32")
        images[:1] = made.batch.images[:1]
        found = bfloat16(replace(made, images=images))
        assert (found.verdict, found.value) == (verdict, pytest.approx(1 / 6))


def _cosine(evidence: Evidence) -> float:
    return float(bfloat16(evidence).why.partition("its cosine is ")[2].split()[0])


@pytest.mark.parametrize("attack", ["noise", "square(queries=5)"])
def test_what_climbs_nothing_has_no_gradient(attack: str) -> None:
    assert "gradient" not in bfloat16(_evidence(0, attack)).why


def test_gradients_are_those_of_the_objective_in_each_precision() -> None:
    made = _evidence(64, "embed(steps=2)")  # which has none at the clean images, so that random starts alone count
    spec, place = components.complete("objectives", "task_loss"), made.batch.images + 0.01
    slopes: list[Tensor] = []
    for how in ("fp32", "bf16"):
        at = place.clone().requires_grad_()
        with made.model.using(bf16=how == "bf16"):
            loss = nn.functional.cross_entropy(made.model(at), made.batch.target, reduction="sum")
        slopes.append(made.slope(place, spec, how))
        torch.testing.assert_close(slopes[-1], torch.autograd.grad(loss, at)[0])
    assert not torch.equal(*slopes)
    assert 0.1 < _cosine(made) < 0.999
