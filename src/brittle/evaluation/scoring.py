"""Scores added up image by image: each batch's verdict and statistics, then metrics with intervals and the evidence for
checks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brittle.attacks.parts.halving import join, split_on_oom
from brittle.checks.parts.evidence import Evidence, sample_size
from brittle.core.errors import CellError
from brittle.core.spec import Spec
from brittle.evaluation.intervals import intervals
from brittle.evaluation.remembered import Remembered
from brittle.types import Batch, LabelFree, Model
from brittle.types.attack import arrived
from brittle.types.attack_log import MOVED, Attacked
from brittle.types.rng import VERSIONS
from brittle.types.threat import Threat

TOLERANCE = 1e-6  # of a violation of the budget: rounding in float32, no more

Rows = Mapping[str, Tensor]


@dataclass(frozen=True)
class Scores:
    """Metrics, their 95 % intervals, the metrics after rounding to 8 bit, and per image what the headline comes from,
    with the ``damage`` [N] of the attacked image itself (a headline that is no mean over images may be worst with
    others) and its ``violation`` [N]."""

    metrics: Mapping[str, float]
    metrics_uint8: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    samples: Mapping[str, np.ndarray]


class Aim:
    """``reached``: the share of what an attack aimed at that is predicted as the class it aimed for.

    Args:
        single: whether an image is one thing to aim at, so that what is reached is a proportion of images.
    """

    shares = ("reached",)

    def __init__(self, *, single: bool) -> None:
        self.proportions: Mapping[str, tuple[str, str]] = {"reached": ("reached", "aimed")} if single else {}

    def summarise(self, total: Mapping[str, Tensor]) -> dict[str, float]:
        return {"reached": total["reached"].item() / max(total["aimed"].item(), 1)}


class Scoring:
    """The scores of a model on images as they come.

    Args:
        model: in evaluation mode and frozen.
        threat: what the attack was allowed.
        checked: how many images will come, where some of them, spread over all, are to be kept for checks; 0 to keep
            none.
        remembered: where other heads may have scored the same images.
    """

    def __init__(self, model: Model, threat: Threat, checked: int = 0, remembered: Remembered | None = None) -> None:
        self.model, self.threat, self.remembered = model, threat, remembered
        self.wanted = sample_size(checked)
        self._every = checked // max(self.wanted, 1)
        self._at_once = 1
        self.ids: list[str] = []
        self._exact: list[Rows] = []
        self._rounded: list[Rows] = []
        self._candidates: list[Rows] = []
        self._notes: list[Rows] = []
        self._curve: list[Rows] = []
        self._kept: list[tuple[Batch, Tensor]] = []

    def add(self, batch: Batch, attacked: Attacked) -> Tensor:
        """Score what an attack attacked of a batch; returns the damage of each image, [B], nan where there is nothing
        to score.

        Raises:
            CellError: an image leaves the threat, or a prediction is no number.
        """
        images = attacked.images
        worst = violation(self.threat, batch, images)
        self.ids += batch.ids
        exact = self._scored(images, batch, attacked.aim)
        self._exact.append(exact)
        same = torch.equal(images, batch.images)
        rounded = images if same else self.threat.to_8bit(batch.images, images)
        self._rounded.append(exact if same else self._scored(rounded, batch, attacked.aim))
        if attacked.candidates is not None:
            each = [self._scored(one, batch) for one in attacked.candidates.unbind(1)]
            self._candidates.append({key: torch.stack([rows[key] for rows in each], 1) for key in each[0]})
        self._curve += [{key: value.cpu() for key, value in attacked.curve.items()}] if attacked.curve else []
        notes = {key: value.float().cpu() for key, value in attacked.notes.items()}
        self._notes.append({**notes, "violation": worst.cpu()})
        self._at_once = max(self._at_once, len(images))
        damage = self.model.task.damage(exact)
        self._keep(batch, images, damage)
        return damage

    def _keep(self, batch: Batch, images: Tensor, damage: Tensor) -> None:
        """Keep every so many-th image, or the next one where it is of another size than the first or nothing in it can
        be scored."""
        shapes = [(clean.images.shape[1:], clean.target.shape[1:]) for clean, _ in self._kept[:1]]
        if shapes not in ([], [(batch.images.shape[1:], batch.target.shape[1:])]):
            return
        came, had = len(self.ids) - len(batch.ids), sum(len(kept) for _, kept in self._kept)
        rows: list[int] = []
        for row in damage.isfinite().nonzero().flatten().tolist():
            if had + len(rows) < self.wanted and came + row >= (had + len(rows)) * self._every:
                rows.append(row)
        if rows:
            self._kept.append(
                (Batch(batch.images[rows], batch.target[rows], [batch.ids[row] for row in rows]), images[rows])
            )

    @torch.no_grad()
    def _scored(self, images: Tensor, batch: Batch, aim: Tensor | None = None) -> Rows:
        aims = {} if aim is None else dict(zip(batch.ids, aim))

        def score(part: Batch) -> Rows:
            seen = self.remembered
            prediction = (seen.predict(self.model, part.ids, part.images) if seen else self.model(part.images)).float()
            if not prediction.isfinite().all():
                raise CellError(
                    "the model predicts nan or inf; check its weights and its input range", check="nonfinite"
                )
            rows = dict(self.model.task.score(prediction, part.target))
            if aims:
                wanted = torch.stack([aims[name] for name in part.ids])
                rows |= {"reached": arrived(prediction, wanted), "aimed": (wanted >= 0).reshape(len(wanted), -1).sum(1)}
            return {key: value.cpu() for key, value in rows.items()}

        return split_on_oom(score, join, batch._replace(images=images))

    def headline(self) -> float:
        """The headline metric so far."""
        return self.model.task.summarise(_total(self._exact))[self.model.task.headline]

    def scores(self) -> Scores:
        """Of everything added. Where an ensemble left candidates, each metric is of the choice that is worst for it:
        the worst image of each image, or the task's own choice over the whole data set.

        Raises:
            CellError: there is nothing to score.
        """
        task = self.model.task
        exact, saved = self._whole(self._exact), self._whole(self._rounded)
        choices = [join(exact)]
        metrics = task.summarise(_total(exact))
        if not np.isfinite(metrics[task.headline]):
            raise CellError(
                f"no valid pixel or image to score for {task.name}; look at the data set's targets", check="nonfinite"
            )
        ends_of = intervals(task, choices[0])
        aim = Aim(single=int(choices[0]["aimed"].max()) <= 1) if "aimed" in choices[0] else None
        if aim:
            metrics, ends_of = {**metrics, **aim.summarise(_total(exact))}, {**ends_of, **intervals(aim, choices[0])}
        if self._candidates:
            candidates = join(self._candidates)
            row = task.worst(candidates)
            chosen = {key: value[torch.arange(len(row)), row] for key, value in candidates.items()}
            other = task.summarise(_total([chosen]))
            worse = [name for name in metrics if (other[name] < metrics[name]) == task.higher_is_better]
            metrics = {**metrics, **{name: other[name] for name in worse}}
            ends = intervals(task, chosen)
            ends_of = {**ends_of, **{name: ends[name] for name in worse if name in ends}}
            choices.append(chosen if task.headline in worse else choices[0])
        own = {"damage": task.damage(choices[0]).double()}
        samples = {**choices[-1], **own, "violation": torch.cat([notes["violation"] for notes in self._notes])}
        rounded = {**task.summarise(_total(saved)), **(aim.summarise(_total(saved)) if aim else {})}
        return Scores(metrics, rounded, ends_of, {key: value.numpy() for key, value in samples.items()})

    def curve(self) -> list[dict[str, float]]:
        """The metrics at the start, after each step and of the images returned, with the mean ``distance``; nothing
        where none was followed."""
        if not self._curve:
            return []
        rows = join(self._curve)  # [N, T, ...] each
        moved = rows.pop(MOVED)
        points: list[dict[str, float]] = []
        for step in range(moved.shape[1]):
            whole = self._whole([{key: value[:, step] for key, value in rows.items()}])
            metrics = self.model.task.summarise(_total(whole))
            points.append({"step": step, **metrics, "distance": moved[:, step].mean().item()})
        return points

    def _whole(self, rows: list[Rows]) -> list[Rows]:
        task = self.model.task
        return [task.together(join(rows))] if isinstance(task, LabelFree) else rows

    def evidence(
        self, attack: Spec, seed: int, precision: str, scores: Scores, *, full: bool, draws: int = VERSIONS[0]
    ) -> Evidence:
        """What checks may look at, of the number that ``attack`` (complete) gave."""
        batches = [batch for batch, _ in self._kept]
        ids = [name for batch in batches for name in batch.ids]
        return Evidence(
            self.model,
            attack,
            self.threat,
            seed,
            precision,
            Batch(torch.cat([batch.images for batch in batches]), torch.cat([batch.target for batch in batches]), ids),
            torch.cat([images for _, images in self._kept]),
            {**scores.samples, **{key: value.numpy() for key, value in join(self._notes).items()}},
            self.model.task.summarise(_total(self._exact)),
            scores.metrics_uint8,
            full,
            self._at_once,
            draws,
        )


def violation(threat: Threat, batch: Batch, images: Tensor) -> Tensor:
    """By how much each of an attack's ``images`` leaves the threat, [B] in the threat's own unit.

    Raises:
        CellError: one by more than rounding explains, or it is no number.
    """
    worst = threat.violation(batch.images, images)
    if (worst > TOLERANCE).any():
        name, size = batch.ids[int(worst.argmax())], worst.max().item()
        raise CellError(f"the attack left the threat by {size:.2e} on {name}; the attack is broken", check="budget")
    return worst


def targeted(batches: Iterable[Batch], model: Model, attacked: bool) -> Iterator[Batch]:
    """The batches with the target that their images are scored by, as far as that depends on the model."""
    task = model.task
    for batch in batches:
        target = split_on_oom(lambda part: task.target_of(model, part, attacked), torch.cat, batch)
        yield batch._replace(target=target)


def _total(rows: Sequence[Rows]) -> dict[str, Tensor]:
    return {key: sum((row[key].sum(0) for row in rows[1:]), rows[0][key].sum(0)) for key in rows[0]}
