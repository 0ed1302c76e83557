"""What a check may use: records of the attack on every image, and a few images to run it on again."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from brittle.attacks.parts.halving import NoMemory, halved, split_on_oom, whole
from brittle.attacks.parts.run import attacked
from brittle.attacks.parts.slope import Numbers
from brittle.core import components
from brittle.core.errors import CellError
from brittle.core.records import Finding, Verdict
from brittle.core.spec import Spec
from brittle.core.traits import CheckTraits
from brittle.core.tree import tree
from brittle.types import Batch, Model, Task, per_image
from brittle.types.rng import VERSIONS, Rng
from brittle.types.threat import Threat

FEWEST, SHARE, MOST = 6, 16, 64  # images that a check runs on: one in SHARE, within these bounds
FEW = 3  # of them for what costs as much as the attack
TOLERATED = 0.01  # difference between two damages that counts as none


def sample_size(count: int) -> int:
    """How many of ``count`` images are kept for checks."""
    return min(count, max(FEWEST, min(count // SHARE, MOST)))


class Judged(NamedTuple):
    """Of n images, on the CPU: ``damage`` [n] float64 as Task.damage has it (a number, as something can be scored in
    each image of the sample), the task's ``loss`` [n] float64, and the ``classes`` predicted anywhere (of no meaning
    where the task has none)."""

    damage: Tensor
    loss: Tensor
    classes: Tensor


@dataclass(frozen=True)
class Evidence:
    """The evidence for one attacked number.

    Args:
        model: what was attacked, in evaluation mode and frozen.
        attack: complete spec of the attack.
        threat: its budget.
        seed: of its random starts.
        precision: ``bf16`` where the attack ran the encoder in it.
        batch: a few clean images with targets, all of one size and with something to score: the sample.
        images: the same images attacked, [n,3,H,W].
        samples: per image of the whole number: ``damage``, ``violation``, the task's statistics, and those of
            AttackLog.summary.
        metrics, metrics_uint8: of the whole number; of the same images rounded to 8 bit.
        full: whether checks may spend as much as the number itself.
        at_once: how many images go through the model at once.
        draws: version of the random numbers.
    """

    model: Model
    attack: Spec
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
    draws: int = VERSIONS[0]

    @property
    def task(self) -> Task:
        return self.model.task

    @property
    def headless(self) -> bool:
        """Whether the attack looks at no head."""
        return tree("attacks", self.attack).headless

    @property
    def climbs(self) -> bool:
        """Whether the attack noted losses on its way."""
        return bool(np.isfinite(self.samples["loss_first"]).any())

    @property
    def blind(self) -> bool:
        """Whether the attack looks at nothing at all, as random noise does."""
        return tree("attacks", self.attack).sees == "nothing"

    @property
    def few(self) -> Batch:
        """The first images of the sample, for what costs as much as the attack."""
        return self.part(FEW)

    @cached_property
    def first(self) -> Tensor:
        """The model's first prediction for the few clean images."""
        return self.predict(self.few.images)

    @cached_property
    def clean(self) -> Judged:
        """The verdict on the sample's clean images."""
        return self.judge(self.batch.images)

    @cached_property
    def hit(self) -> Judged:
        """The verdict on their attacked images."""
        return self.judge(self.images)

    @cached_property
    def graded(self) -> bool:
        """Whether predictions are right or wrong, so that damage is a share: 1 where nothing is right."""
        return self.task.right(self.first, self.few.target) is not None

    @property
    def unit(self) -> float:
        """The unit of damage: 1 where it is a share, else the attack's own damage."""
        return 1.0 if self.graded else _mean(self.hit.damage) or 1.0

    def harm(self, damage: Tensor) -> str:
        """Damage [n] in words: the share that is wrong, or the mean of the task's own error."""
        mean = _mean(damage)
        return f"{mean:.1%} wrong" if self.graded else f"{self.task.headline} {mean:.3f}"

    def beside(self, what: str, damage: Tensor) -> str:
        """What else was tried on the sample and the damage [n] it did, beside that of the attack, in words."""
        own = self.harm(self.hit.damage[: len(damage)])
        return f"{self.harm(damage)} with {what}, {own} with this attack ({len(damage)} images)"

    @cached_property
    def left(self) -> np.ndarray:
        """[N] bool, of the whole number: where the attack left something right, or where predictions are only more
        or less wrong; without images in which an attack with an aim had nothing to aim at."""
        damage = self.samples["damage"]
        aimed = self.samples.get("aimed", np.ones_like(damage)) > 0
        return np.isfinite(damage) & ((damage < 1) | (not self.graded)) & aimed

    def part(self, count: int) -> Batch:
        """The first ``count`` images of the sample."""
        return self.batch.rows(range(min(count, len(self.batch.images))))

    def again(
        self,
        batch: Batch,
        *,
        eps: float | None = None,
        seed: int | None = None,
        attack: Spec | str | None = None,
        precision: str | None = None,
    ) -> Tensor:
        """The images of ``batch`` after the attack, or another one, with the same or another budget, seed and
        precision; attacked until they are wrong where that is all that counts."""
        threat = Threat(self.threat.norm, self.threat.eps if eps is None else eps)
        chosen_seed, how = self.seed if seed is None else seed, precision or self.precision

        def make(batch: Batch) -> Tensor:
            rng = Rng(chosen_seed, batch.ids, self.draws)
            return attacked(self.model, attack or self.attack, batch, threat, rng, precision=how, settles=True)

        return self._in_parts(make, batch)

    def slope(self, images: Tensor, objective: Spec, precision: str) -> Tensor:
        """The gradient of an objective [n,3,H,W] at ``images``, made from those of the sample."""

        def make(part: Batch) -> Tensor:
            assert part.start is not None
            at = part.start.clone().requires_grad_()
            with self.model.using(bf16=precision == "bf16"), torch.enable_grad():
                climbed = components.build("objectives", objective, self.model, part)
                numbers = Numbers()
                gradient = numbers.slope(climbed(at, 0.0), at, f"in {precision}")
            numbers.look()
            return gradient

        return self._in_parts(make, self.batch._replace(start=images))

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """The model's prediction in float32."""

        def work(rows: range) -> Tensor:
            return self.model(images[rows.start : rows.stop]).float()

        return halved(work, torch.cat, range(len(images)))

    def judge(self, images: Tensor) -> Judged:
        """The verdict on ``images``, made from the first images of the sample."""
        parts: list[Judged] = []
        for part, target in zip(images.split(self.at_once), self.batch.target.split(self.at_once)):
            prediction, target = self.predict(part), target[: len(part)]
            damage = self.task.damage(self.task.score(prediction, target))
            loss = per_image(self.task.loss(prediction, target))
            parts.append(Judged(damage.double().cpu(), loss.double().cpu(), self._classes(prediction)))
        damage, loss, classes = map(torch.cat, zip(*parts))
        return Judged(damage, loss, classes.unique())

    def _classes(self, prediction: Tensor) -> Tensor:
        """The classes predicted anywhere; none where the task has no classes."""
        if "classes" not in self.task.abilities:
            return torch.empty(0, dtype=torch.long)
        return prediction.argmax(1).unique().cpu()

    def _in_parts(self, make: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        """What ``make`` makes of a batch, no more of it at once than fits."""
        count, most = len(batch.images), self.at_once
        parts = (batch.rows(range(start, min(start + most, count))) for start in range(0, count, most))
        return torch.cat([split_on_oom(make, torch.cat, part) for part in parts])


def _mean(values: Tensor) -> float:
    """The mean of the finite ones; 0 of none."""
    kept = values[values.isfinite()]
    return float(kept.mean()) if len(kept) else 0.0


def exceeds(one: Tensor, other: Tensor, unit: float) -> tuple[float, Verdict]:
    """By how much ``one`` is above ``other`` [n], image by image, on average, and the verdict where it should not
    be: ``fail`` if two standard errors of the mean are less than that, else ``warn``, as it may be luck.

    Args:
        unit: the unit of a difference; a hundredth of it counts as none.
    """
    gap = (one - other)[(one.isfinite() & other.isfinite())]
    if not len(gap):
        return 0.0, "unchecked"
    mean = float(gap.mean())
    if mean <= TOLERATED * unit:
        return mean, "ok"
    return mean, "fail" if len(gap) > 1 and mean > 2 * float(gap.std()) / math.sqrt(len(gap)) else "warn"


def findings(evidence: Evidence) -> tuple[Finding, ...]:
    """The findings of all checks; those that cost as much as the number run only where the evidence is full. A check
    that the model stops with an error, such as one that cannot predict a single image, is a ``fail`` with that error;
    one that memory stops, however little is done at once, is ``unchecked``."""
    every = {name: components.component("checks", name) for name in components.names("checks")}
    costly = {
        name for name, (_, traits) in every.items() if isinstance(traits, CheckTraits) and traits.evidence == "full"
    }
    names = [name for name in every if evidence.full or name not in costly]
    devices = [evidence.images.device] if evidence.images.is_cuda else []
    # so that even a model with random output gets the same findings each time
    with torch.random.fork_rng(devices):
        torch.manual_seed(evidence.seed)
        return tuple(_finding(name, evidence) for name in names)


def _finding(name: str, evidence: Evidence) -> Finding:
    try:
        with whole(f"check {name}"):
            finding: Finding = components.component("checks", name).function(evidence)
    except NoMemory as error:  # which says nothing of the number
        return Finding(name, "unchecked", None, str(error))
    except (CellError, RuntimeError, ValueError, ArithmeticError, LookupError) as error:
        prefix = "" if isinstance(error, CellError) else f"{type(error).__name__}: "
        return Finding(name, "fail", None, " ".join(f"{prefix}{error}".split())[:300])
    finite = finding.value is not None and math.isfinite(finding.value)
    return finding if finite else replace(finding, value=None)
