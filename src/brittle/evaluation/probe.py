"""Heads on frozen features: a grid of learning rates fitted at once in one pass over the data, the best chosen on
held-out images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from brittle.attacks.parts.halving import halved, join, whole
from brittle.core.errors import CellError
from brittle.core.progress import progress
from brittle.types import Features, Task, predict

VERSION = 1
BATCH = 16  # images that are scored at once
Rows = Sequence[tuple[Features, Tensor]]


@dataclass(frozen=True)
class Recipe:
    """How heads are fitted.

    Args:
        optimiser: of torch.optim.
        rates: learning rates; a head is fitted with each, and the best is kept.
        decay: weight decay.
        batch: images in a step.
        epochs: how often each image is seen.
        steps: at least so many, however few images there are.
        schedule: ``cosine`` to zero over all steps, or a ``constant`` rate.
    """

    optimiser: Literal["adamw", "adam"] = "adamw"
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    decay: float = 1e-4
    batch: int = 16
    epochs: int = 8
    steps: int = 400
    schedule: Literal["cosine", "constant"] = "cosine"


STANDARD = Recipe()
OPTIMISERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


def fit(
    task: Task,
    dim: int,
    patch: int,
    outputs: int,
    train: Rows,
    val: Rows,
    *,
    seed: int = 0,
    device: str = "cpu",
    recipe: Recipe = STANDARD,
) -> nn.Module:
    """The head with the best headline metric on ``val`` among one for each learning rate (as DINOv2's linear
    evaluation: one pass of the features feeds them all).

    Args:
        dim, patch: the encoder's.
        outputs: what the head predicts for (number of classes).
        train, val: (features, target) of batches; targets as the task reads them, those of classes in any type of whole
            numbers.

    Raises:
        CellError: no head has a finite metric on ``val``.
    """
    count = sum(len(target) for _, target in train)
    steps, rates = max(recipe.steps, recipe.epochs * count // recipe.batch), recipe.rates
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = task.head(dim, outputs).to(device)
        heads = [first] + [task.head(dim, outputs).to(device) for _ in rates[1:]]
    for other in heads[1:]:
        other.load_state_dict(first.state_dict())
    groups = [{"params": list(module.parameters()), "lr": rate} for module, rate in zip(heads, rates)]
    optimiser = OPTIMISERS[recipe.optimiser](groups, weight_decay=recipe.decay)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    shuffle = torch.Generator().manual_seed(seed)
    sampler = _Sampler(train, recipe.batch, shuffle)
    with progress(f"fitting {len(heads)} {task.name} heads", steps, "steps") as advance:
        for _ in range(steps):
            features, target = sampler.draw(device)
            optimiser.zero_grad()
            losses: list[float] = []
            for module in heads:  # one after the other: the maps of all at once would take several times the memory
                with whole(f"a step of {len(target)} images in the fit of a {task.name} head"):
                    loss = task.loss(predict(module, features, patch, _size(features, patch, target)), target).mean()
                    loss.backward()
                losses.append(loss.item())
            optimiser.step()
            if recipe.schedule == "cosine":
                cosine.step()
            advance(1, f"loss {min(losses):.3f}")
    scores = [evaluate(task, module.eval(), patch, val, device) for module in heads]
    signed = [score if task.higher_is_better else -score for score in scores]
    finite = [i for i, score in enumerate(signed) if score == score]
    if not finite:
        raise CellError(
            f"no {task.name} head has a finite {task.headline} on the val split; check the features and the targets"
        )
    return heads[max(finite, key=lambda i: signed[i])]


@torch.no_grad()
def evaluate(task: Task, head: nn.Module, patch: int, rows: Rows, device: str = "cpu") -> float:
    """The task's headline metric of a head on (features, target) batches."""
    totals: dict[str, Tensor] = {}
    pieces = (
        parts
        for features, target in rows
        for parts in zip(features.pooled.split(BATCH), features.grid.split(BATCH), target.split(BATCH))
    )
    for piece in pieces:

        def score(rows: range, piece: Sequence[Tensor] = piece) -> Mapping[str, Tensor]:
            pooled, grid, target = (part[rows.start : rows.stop] for part in piece)
            features, target = _ready(pooled, grid, target, device)
            return task.score(predict(head, features, patch, _size(features, patch, target)), target)

        for key, value in halved(score, join, range(len(piece[-1]))).items():
            totals[key] = totals[key] + value.sum(0) if key in totals else value.sum(0)
    return task.summarise(totals)[task.headline]


def _size(features: Features, patch: int, target: Tensor) -> tuple[int, int]:
    """Where to predict: at the target's own size, but never finer than the encoder saw (the task enlarges the rest of
    the way)."""
    rows, columns = features.grid.shape[-2:]
    if target.dim() < 3:
        return rows * patch, columns * patch
    return min(rows * patch, target.shape[-2]), min(columns * patch, target.shape[-1])


class _Sampler:
    """Draws mixed batches from stored ones, each image once an epoch; only images of one shape share a batch."""

    def __init__(self, rows: Rows, batch: int, shuffle: torch.Generator) -> None:
        groups: dict[tuple[torch.Size, torch.Size], list[tuple[Tensor, Tensor, Tensor]]] = {}
        for features, target in rows:  # unbound, not copied: of a large data set they fill the memory once, not twice
            parts = zip(features.pooled.unbind(), features.grid.unbind(), target.unbind())
            groups.setdefault((features.grid.shape[1:], target.shape[1:]), []).extend(parts)
        self.groups = list(groups.values())
        self.batch, self.shuffle = batch, shuffle
        self.queue: list[tuple[int, Tensor]] = []

    def draw(self, device: str) -> tuple[Features, Tensor]:
        if not self.queue:
            for number, group in enumerate(self.groups):
                order = torch.randperm(len(group), generator=self.shuffle)
                self.queue += [(number, part) for part in order.split(self.batch)]
            order = torch.randperm(len(self.queue), generator=self.shuffle).tolist()
            self.queue = [self.queue[i] for i in order]
        number, index = self.queue.pop()
        pooled, grid, target = (torch.stack(parts) for parts in zip(*(self.groups[number][i] for i in index.tolist())))
        return _ready(pooled, grid, target, device)


def _ready(pooled: Tensor, grid: Tensor, target: Tensor, device: str) -> tuple[Features, Tensor]:
    """Stored features and target on a device, in the types that heads and losses take."""
    features = Features(pooled.to(device).float(), grid.to(device).float())
    return features, target.to(device) if target.is_floating_point() else target.to(device).long()
