"""The images of an attacked cell that are worth a look: the worst, the least damaged and a typical one, chosen as they
come and drawn at the end."""

import statistics
from bisect import insort
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from brittle.core.pictures import ROLES, Picture
from brittle.evaluation import drawing
from brittle.types import Batch, Model, Task, per_image, resized

SAMPLE, ENDS = 16, 4  # images held, spread over all, and at each end
ROOM = SAMPLE * 512**2  # pixels of those spread over all: of larger images there are fewer
NAMED = 8  # classes in a legend


class Held(NamedTuple):
    """An image on the CPU, its place among all, and its damage when it was scored."""

    damage: float
    place: int
    batch: Batch
    attacked: Tensor


class Gallery:
    """Chooses images as they come. What it holds does not grow with their number.

    Args:
        model: as it is scored.
        total: how many images will come.
    """

    def __init__(self, model: Model, total: int) -> None:
        self.model, self.total = model, total
        self._damages: list[float] = []
        self._worst: list[Held] = []
        self._least: list[Held] = []
        self._sample: list[Held] = []
        self._device = torch.device("cpu")

    @property
    def held(self) -> Sequence[Held]:
        """Everything that is held, some of it twice."""
        return [*self._worst, *self._least, *self._sample]

    def add(self, batch: Batch, attacked: Tensor, damage: Tensor) -> None:
        """Look at what an attack made of a batch, and at its ``damage`` [B], nan where there is nothing to score."""
        self._device = batch.images.device
        room = ROOM // batch.images[0, 0].numel()
        spread, ends = (max(1, min(count, room * count // SAMPLE)) for count in (SAMPLE, ENDS))
        for row, value in enumerate(damage.tolist()):
            place = len(self._damages)
            self._damages.append(value)
            if value != value:
                continue
            sampled = len(self._sample) < spread and place >= len(self._sample) * self.total // spread
            worse = len(self._worst) < ends or value > self._worst[-1].damage
            better = len(self._least) < ends or value < self._least[-1].damage
            if sampled or worse or better:
                image, target, changed = (each[[row]].cpu() for each in (batch.images, batch.target, attacked))
                held = Held(value, place, Batch(image, target, [batch.ids[row]]), changed)
                self._sample += [held] if sampled else []
                insort(self._worst, held, key=lambda held: -held.damage)  # of equals the first stay
                insort(self._least, held, key=lambda held: held.damage)
                del self._worst[ends:], self._least[ends:]

    @torch.no_grad()
    def chosen(self) -> dict[str, Held]:
        """The images by their roles: the worst and the least damaged, of several alike the ones whose loss rose most
        and least, and the one of the sample that is nearest to the median of all; no image twice."""
        if not self._worst:
            return {}
        worst = max(_alike(self._worst), key=self._rise)
        found = {"worst": worst}
        rest = [held for held in self._least if held.place != worst.place]
        if rest:
            found["least"] = min(_alike(rest), key=self._rise)
        taken = {held.place for held in found.values()}
        middle = statistics.median(value for value in self._damages if value == value)
        sample = [held for held in self._sample if held.place not in taken]
        if sample:
            found["typical"] = min(sample, key=lambda held: abs(held.damage - middle))
        return found

    @torch.no_grad()
    def pictures(self, names: Sequence[str]) -> list[Picture]:
        """The images chosen, predicted once more in float32 and drawn.

        Args:
            names: of the classes, where predictions are classes.
        """
        chosen = self.chosen()
        return [self._drawn(role, chosen[role], names) for role in ROLES if role in chosen]

    def _predicted(self, held: Held) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Clean and attacked images, and predictions, of one image, where the model is."""
        clean, attacked = (each.to(self._device) for each in (held.batch.images, held.attacked))
        with self.model.using(bf16=False):
            return clean, attacked, self.model(clean).float().cpu(), self.model(attacked).float().cpu()

    def _rise(self, held: Held) -> float:
        _, _, before, after = self._predicted(held)
        losses = [per_image(self.model.task.loss(each, held.batch.target)) for each in (before, after)]
        return float((losses[1] - losses[0]).sum())

    def _drawn(self, role: str, held: Held, names: Sequence[str]) -> Picture:
        clean, attacked, before, after = self._predicted(held)
        task, target = self.model.task, held.batch.target
        image = held.batch.images[0]
        amplified, factor = drawing.change(image, held.attacked[0])
        drawings = {
            "clean": drawing.photograph(image),
            "attacked": drawing.photograph(held.attacked[0]),
            "change": amplified,
        }
        with self.model.using(bf16=False):
            drawings |= dict(zip(("tokens", "tokens_attacked"), drawing.tokens(self.model, clean, attacked)))
        said = _told(task, before, after, target, image, names)
        worse = [float(task.damage(task.score(each, target))[0]) for each in (before, after)]
        drawings |= said.pop("drawings", {})
        edge = min(max(image.shape[1:]), drawing.EDGE)
        return Picture(role, held.batch.ids[0], drawings, edge, factor, (worse[0], worse[1]), **said)


def _alike(held: Sequence[Held]) -> list[Held]:
    """Those of the same damage as the first."""
    return [each for each in held if each.damage == held[0].damage]


def _told(
    task: Task, before: Tensor, after: Tensor, target: Tensor, image: Tensor, names: Sequence[str]
) -> dict[str, Any]:
    """What a picture tells of predictions, by what they are; nothing where that is not known."""
    if task.abilities >= {"classes", "per_image"}:
        return _labels(before, after, target, names)
    if task.abilities >= {"classes", "per_pixel"}:
        return _masks(before, after, target, image, names)
    if task.abilities >= {"metres", "per_pixel"}:
        return _metres(task, before, after, target)
    return {}


def _labels(before: Tensor, after: Tensor, target: Tensor, names: Sequence[str]) -> dict[str, Any]:
    guesses = [each.softmax(1)[0].max(0) for each in (before, after)]
    places = [int(target[0]), *(int(place) for _, place in guesses)]
    return {
        "kind": "label",
        "labels": tuple(_name(names, place) for place in places),
        "shares": tuple(float(share) for share, _ in guesses),
    }


def _masks(before: Tensor, after: Tensor, target: Tensor, image: Tensor, names: Sequence[str]) -> dict[str, Any]:
    guesses = [resized(each, target.shape[-2:]).argmax(1)[0] for each in (before, after)]
    maps = dict(zip(("truth", "before", "after"), (target[0], *guesses)))
    seen = torch.stack(list(maps.values()))
    places, counts = seen[seen >= 0].unique(return_counts=True)
    most = places[counts.argsort(descending=True, stable=True)][:NAMED].tolist()
    return {
        "kind": "mask",
        "drawings": {name: drawing.classes(mask, image) for name, mask in maps.items()},
        "legend": tuple((_name(names, place), drawing.colour(place)) for place in most),
    }


def _metres(task: Task, before: Tensor, after: Tensor, target: Tensor) -> dict[str, Any]:
    first, second = (task.metres(each, target) for each in (before, after))
    truth = torch.where(first[2], first[1], torch.nan)[0, 0]
    guesses = [each[0][0, 0] for each in (first, second)]
    maps = dict(zip(("truth", "before", "after"), (truth, *guesses)))
    known = torch.cat([each[each.isfinite()] for each in maps.values()])
    low, high = (float(known.min()), float(known.max())) if known.numel() else (0.0, 0.0)
    return {
        "kind": "metres",
        "drawings": {name: drawing.metres(each, low, high) for name, each in maps.items()},
        "ends": (low, high),
    }


def _name(names: Sequence[str], place: int) -> str:
    return names[place] if 0 <= place < len(names) else f"class {place}"
