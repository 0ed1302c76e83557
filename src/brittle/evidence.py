"""What a check may look at: what the attack saw on every picture, and a few pictures to try things on again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brittle import spec
from brittle.plan import Finding
from brittle.rng import Rng
from brittle.threat import Threat
from brittle.trace import Trace
from brittle.types import Batch, Model, Task, per_image

FEWEST = 8  # pictures that a check tries things on, where there are so many
SHARE = 10  # and one in so many of the rest


def sample_size(count: int) -> int:
    """How many of ``count`` pictures are kept for checks."""
    return min(count, max(FEWEST, count // SHARE))


@dataclass(frozen=True)
class Evidence:
    """The evidence for one attacked number.

    Args:
        model: what was attacked, in evaluation mode and frozen.
        attack: complete spec of the attack.
        threat: what it was allowed.
        seed: of its random starts.
        precision: ``bf16`` where the attack ran the encoder in it.
        batch: a few clean pictures with targets, all of one size.
        images: what the attack made of them, [B,3,H,W].
        samples: per picture of the whole number: ``violation``, the task's statistics, and what Trace.summary has.
        metrics, metrics_uint8: of the whole number; of the same pictures rounded to 8 bit.
        full: whether checks may spend as much as the number itself.
    """

    model: Model
    attack: spec.Spec
    threat: Threat
    seed: int
    precision: str
    batch: Batch
    images: Tensor
    samples: Mapping[str, np.ndarray]
    metrics: Mapping[str, float]
    metrics_uint8: Mapping[str, float]
    full: bool = False
    _memory: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @property
    def task(self) -> Task:
        return self.model.task

    def part(self, count: int) -> Batch:
        """The first ``count`` pictures of the sample."""
        return self.batch.rows(range(min(count, len(self.batch.images))))

    def again(self, batch: Batch, *, eps: float | None = None, seed: int | None = None, attack: spec.Spec | str | None = None) -> Tensor:
        """What the attack, or another one, makes of ``batch`` with the same or another budget and seed."""
        threat = Threat(self.threat.norm, self.threat.eps if eps is None else eps)
        return attacked(self.model, attack or self.attack, batch, threat, self.seed if seed is None else seed, precision=self.precision)

    def once(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """What ``make`` gives, made once however many checks ask."""
        if name not in self._memory:
            self._memory[name] = make()
        return self._memory[name]

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """The model's prediction in float32."""
        return self.model(images).float()

    def damage(self, images: Tensor, batch: Batch | None = None) -> Tensor:
        """[B] how bad each prediction is: wrong, share of wrong pixels, or an error in metres; nan where there is nothing to score."""
        target = (batch or self.batch).target[: len(images)]
        return self.task.damage(self.task.score(self.predict(images), target)).double()

    def loss(self, images: Tensor, batch: Batch | None = None) -> Tensor:
        """[B] the task's loss."""
        target = (batch or self.batch).target[: len(images)]
        return per_image(self.task.loss(self.predict(images), target)).double()


def attacked(
    model: Model, attack: spec.Spec | str, batch: Batch, threat: Threat, seed: int, *, precision: str, trace: Trace | None = None
) -> Tensor:
    """Adversarial images for a batch, the encoder in ``precision``; the model's own switches are as before afterwards."""
    before = model.bf16, model.trace
    model.bf16, model.trace = precision == "bf16", trace
    try:
        return spec.build("attacks", attack, model, batch, threat, Rng(seed, batch.ids)).detach()
    finally:
        model.bf16, model.trace = before


def findings(evidence: Evidence) -> tuple[Finding, ...]:
    """What every check says; those marked ``FULL`` only look where the evidence is full."""
    names = [name for name in spec.names("checks") if evidence.full or not getattr(spec.module("checks", name), "FULL", False)]
    return tuple(spec.component("checks", name)(evidence) for name in names)
