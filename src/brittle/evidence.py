"""What a check may look at: what the attack saw on every picture, and a few pictures to try things on again."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from brittle import spec
from brittle.errors import CellError
from brittle.memory import halving
from brittle.plan import Finding, Verdict
from brittle.rng import Rng
from brittle.threat import Threat
from brittle.trace import Trace
from brittle.types import Batch, Model, Task, per_image

FEWEST, SHARE, MOST = 6, 16, 64  # pictures that a check tries things on: one in so many, within these bounds
FEW = 3  # of them for what costs as much as the attack
TOLERATED = 0.01  # difference between two damages that is none


def sample_size(count: int) -> int:
    """How many of ``count`` pictures are kept for checks."""
    return min(count, max(FEWEST, min(count // SHARE, MOST)))


class Judged(NamedTuple):
    """Of n pictures, on the CPU: ``damage`` [n] float64 as Task.damage has it (a number, as something can be scored in each picture of the
    sample), the task's ``loss`` [n] float64, and the ``classes`` predicted anywhere (of no meaning where the task has none)."""

    damage: Tensor
    loss: Tensor
    classes: Tensor


@dataclass(frozen=True)
class Evidence:
    """The evidence for one attacked number.

    Args:
        model: what was attacked, in evaluation mode and frozen.
        attack: complete spec of the attack.
        threat: what it was allowed.
        seed: of its random starts.
        precision: ``bf16`` where the attack ran the encoder in it.
        batch: a few clean pictures with targets, all of one size and with something to score: the sample.
        images: what the attack made of them, [n,3,H,W].
        samples: per picture of the whole number: ``damage``, ``violation``, the task's statistics, and what Trace.summary has.
        metrics, metrics_uint8: of the whole number; of the same pictures rounded to 8 bit.
        full: whether checks may spend as much as the number itself.
        at_once: how many pictures go through the model at once.
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
    at_once: int = 64

    @property
    def task(self) -> Task:
        return self.model.task

    @property
    def headless(self) -> bool:
        """Whether the attack looks at no head."""
        return getattr(spec.module("attacks", self.attack.name), "HEADLESS", False)

    @property
    def climbs(self) -> bool:
        """Whether the attack noted losses on its way."""
        return bool(np.isfinite(self.samples["loss_first"]).any())

    @property
    def blind(self) -> bool:
        """Whether the attack looks at nothing at all, as random noise does."""
        return self.headless and not self.climbs

    @property
    def few(self) -> Batch:
        """The first pictures of the sample, for what costs as much as the attack."""
        return self.part(FEW)

    @cached_property
    def first(self) -> Tensor:
        """What the model predicted for the few clean pictures when it was first asked."""
        return self.predict(self.few.images)

    @cached_property
    def clean(self) -> Judged:
        """The verdict on the sample's clean pictures."""
        return self.judge(self.batch.images)

    @cached_property
    def hit(self) -> Judged:
        """The verdict on what the attack made of them."""
        return self.judge(self.images)

    @cached_property
    def graded(self) -> bool:
        """Whether predictions are right or wrong, so that damage is a share: 1 where nothing is right."""
        return self.task.right(self.first, self.few.target) is not None

    @property
    def unit(self) -> float:
        """What damage is measured by: 1 where it is a share, else what the attack did."""
        return 1.0 if self.graded else _mean(self.hit.damage) or 1.0

    @cached_property
    def left(self) -> np.ndarray:
        """[N] bool, of the whole number: where the attack left something right, or there is only more and less wrong; but for pictures that
        an attack with an aim had nothing to aim at in."""
        damage = self.samples["damage"]
        aimed = self.samples.get("aimed", np.ones_like(damage)) > 0
        return np.isfinite(damage) & ((damage < 1) | (not self.graded)) & aimed

    def part(self, count: int) -> Batch:
        """The first ``count`` pictures of the sample."""
        return self.batch.rows(range(min(count, len(self.batch.images))))

    def again(self, batch: Batch, *, eps: float | None = None, seed: int | None = None, attack: spec.Spec | str | None = None) -> Tensor:
        """What the attack, or another one, makes of ``batch`` with the same or another budget and seed."""
        threat = Threat(self.threat.norm, self.threat.eps if eps is None else eps)
        number = self.seed if seed is None else seed

        def make(batch: Batch) -> Tensor:
            return attacked(self.model, attack or self.attack, batch, threat, number, precision=self.precision)

        return torch.cat([halving(make, torch.cat, part) for part in self._chunks(batch)])

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """The model's prediction in float32."""
        return self.model(images).float()

    def judge(self, images: Tensor) -> Judged:
        """What is to be said of ``images``, made of the first pictures of the sample."""
        parts: list[Judged] = []
        for part, target in zip(images.split(self.at_once), self.batch.target.split(self.at_once)):
            prediction, target = self.predict(part), target[: len(part)]
            damage = self.task.damage(self.task.score(prediction, target))
            loss = per_image(self.task.loss(prediction, target))
            parts.append(Judged(damage.double().cpu(), loss.double().cpu(), prediction.argmax(1).unique().cpu()))
        damage, loss, classes = map(torch.cat, zip(*parts))
        return Judged(damage, loss, classes.unique())

    def _chunks(self, batch: Batch) -> Iterator[Batch]:
        count = len(batch.images)
        return (batch.rows(range(start, min(start + self.at_once, count))) for start in range(0, count, self.at_once))


def _mean(values: Tensor) -> float:
    """The mean of the finite ones; 0 of none."""
    kept = values[values.isfinite()]
    return float(kept.mean()) if len(kept) else 0.0


def exceeds(one: Tensor, other: Tensor, unit: float) -> tuple[float, Verdict]:
    """By how much ``one`` is above ``other`` [n], picture by picture, in the mean, and what to think of it where it should not be: ``fail``
    if two standard errors of the mean are less than that, else ``warn``, as it may be luck.

    Args:
        unit: what a difference is measured by; a hundredth of it is none.
    """
    gap = (one - other)[(one.isfinite() & other.isfinite())]
    if not len(gap):
        return 0.0, "unchecked"
    mean = float(gap.mean())
    if mean <= TOLERATED * unit:
        return mean, "ok"
    return mean, "fail" if len(gap) > 1 and mean > 2 * float(gap.std()) / math.sqrt(len(gap)) else "warn"


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
    """What every check says; those marked ``FULL`` only look where the evidence is full. A check that the model stops with an error, such
    as one that cannot predict a single picture, is a ``fail`` with that error."""
    names = [name for name in spec.names("checks") if evidence.full or not getattr(spec.module("checks", name), "FULL", False)]
    devices = [evidence.images.device] if evidence.images.is_cuda else []
    with torch.random.fork_rng(devices):  # so that even a model that draws at random is found out in the same way each time
        torch.manual_seed(evidence.seed)
        return tuple(_found(name, evidence) for name in names)


def _found(name: str, evidence: Evidence) -> Finding:
    try:
        finding: Finding = spec.component("checks", name)(evidence)
    except (CellError, RuntimeError, ValueError, ArithmeticError, LookupError) as error:
        kind = "" if isinstance(error, CellError) else f"{type(error).__name__}: "
        return Finding(name, "fail", None, " ".join(f"{kind}{error}".split())[:300])
    finite = finding.value is not None and math.isfinite(finding.value)
    return finding if finite else replace(finding, value=None)
