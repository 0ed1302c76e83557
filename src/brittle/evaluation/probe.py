"""Heads on frozen features: a grid of learning rates fitted at once in one pass over the data, the best chosen on
held-out images."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from brittle.attacks.parts.halving import halved, join, whole
from brittle.core.errors import CellError
from brittle.core.progress import progress
from brittle.evaluation.recipe import Recipe
from brittle.evaluation.sampler import Rows, Sampler, ready
from brittle.evaluation.standardised import Standardised
from brittle.types import Features, Memory, Task, predict

VERSION = 3
BATCH = 16  # images that are scored at once
LOOKS = 20  # at the val split, on the way through all steps
BETTER = 1e-3  # share of a score by which it has to rise for the fit to go on
TAIL = 8  # weights of the last ninth of all steps so far make up most of their mean
MAPS = 2**24  # values that the heads predict at once; a head whose maps are larger keeps a machine busy alone
STANDARD = Recipe()
OPTIMISERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


def unfitted(task: Task, dim: int, outputs: int) -> nn.Module:
    """The head that ``fit`` makes and its weights belong to."""
    head = task.head(dim, outputs)
    return head if isinstance(head, Memory) else Standardised(head, dim, task.reads)


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
    """The head with the best headline metric on ``val`` among those of all learning rates (as DINOv2's linear
    evaluation: one pass of the features feeds them all) and of all looks at ``val``.

    Args:
        dim, patch: the encoder's.
        outputs: what the head predicts for (number of classes).
        train, val: (features, target) of batches; targets as the task reads them, those of classes in any type of whole
            numbers.

    Raises:
        CellError: no head has a finite metric on ``val``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = unfitted(task, dim, outputs)
    if isinstance(module, Memory):
        module.memorise(train)
        return module.to(device).eval()
    assert isinstance(module, Standardised)
    if recipe.standardise:
        module.measure(train)
    shuffle = torch.Generator().manual_seed(seed)
    grid = _Grid(task, module.to(device), patch, recipe, shuffle)
    count = sum(len(target) for _, target in train)
    steps = max(recipe.steps, recipe.epochs * count // recipe.batch)
    every = max(1, steps // LOOKS) if recipe.patience else steps
    sampler = Sampler(train, recipe.batch, shuffle, device)
    since = 0
    with progress(f"fitting {len(recipe.rates)} {task.name} heads", steps, "steps") as advance:
        for step in range(1, steps + 1):
            loss = grid.step(*sampler.draw(), step, steps)
            advance(1, f"loss {loss:.3f}")
            if step % every == 0 or step == steps:
                since = 0 if grid.look(val) else since + 1
                if since >= recipe.patience:
                    break
    return grid.best()


class Seen(NamedTuple):
    """What the val split says of a head.

    Args:
        score: the headline metric, higher being better.
        loss: the sum over images where the headline counts images, which has many ties; 0 elsewhere.
        error: the standard error of the score where it counts images; 0 elsewhere.
    """

    score: float
    loss: float
    error: float


NOTHING = Seen(-torch.inf, torch.inf, 0.0)


class _Grid:
    """One head for each learning rate, all fitted at once: their weights are stacked, and so are their predictions."""

    def __init__(self, task: Task, module: Standardised, patch: int, recipe: Recipe, shuffle: torch.Generator) -> None:
        self.shuffle, self.task, self.module, self.patch, self.recipe = shuffle, task, module, patch, recipe
        self.count, self.together = len(recipe.rates), 1
        self.weights, self.state = (
            {name: tensor.detach().expand(self.count, *tensor.shape).clone() for name, tensor in named}
            for named in (module.head.named_parameters(), module.head.named_buffers())
        )
        for tensor in self.weights.values():
            tensor.requires_grad_().grad = torch.zeros_like(tensor)
        self.mean = {name: tensor.detach() for name, tensor in self.weights.items()}
        if recipe.schedule == "mean":
            self.mean = {name: tensor.clone() for name, tensor in self.mean.items()}
        self.top, self.kept, self.state_kept = -torch.inf, NOTHING, self._state(0)
        self.mark = NOTHING
        groups = [{"params": self._views(i), "lr": rate} for i, rate in enumerate(recipe.rates)]
        self.optimiser = OPTIMISERS[recipe.optimiser](groups, weight_decay=recipe.decay, fused=True)

    def _views(self, index: int) -> list[Tensor]:
        """The weights of one head for the optimiser, their gradients with them, in the memory of the stack."""
        views: list[Tensor] = []
        for tensor in self.weights.values():
            assert tensor.grad is not None
            views.append(tensor.detach()[index])
            views[-1].grad = tensor.grad[index]
        return views

    def _state(self, index: int) -> dict[str, Tensor]:
        return {name: tensor[index].clone() for name, tensor in (self.mean | self.state).items()}

    def step(self, features: Features, target: Tensor, number: int, of: int) -> float:
        """Step ``number`` from 1 of so many; the lowest loss before it."""
        features = self.module.standardise(features)
        patch, target = self._thinned(features, target)
        self.module.head.train(not self.recipe.standardise)
        if self.recipe.schedule == "cosine":
            for group, rate in zip(self.optimiser.param_groups, self.recipe.rates):
                group["lr"] = rate * (1 + math.cos(math.pi * (number - 1) / of)) / 2
        for tensor in self.weights.values():
            assert tensor.grad is not None
            tensor.grad.zero_()
        losses: list[float] = []
        with whole(f"a step of {len(target)} images in the fit of a {self.task.name} head"):
            for predicted in self._predictions(self.weights, features, target, patch):
                repeated = target.expand(len(predicted), *target.shape).flatten(0, 1)
                loss = self.task.loss(predicted.flatten(0, 1), repeated).view(len(predicted), -1).mean(1)
                loss.sum().backward()
                losses += loss.tolist()
        self.optimiser.step()
        if self.recipe.schedule == "mean":
            share = (TAIL + 1) / (TAIL + number)
            for name, tensor in self.weights.items():
                self.mean[name].lerp_(tensor.detach(), share)
        return min(losses)

    def _predictions(
        self, weights: Mapping[str, Tensor], features: Features, target: Tensor, patch: int
    ) -> Iterator[Tensor]:
        """[R, B, ...] of so many heads at once as ``MAPS`` allows, one after the other."""
        size, start = _size(features, patch, target), 0
        while start < self.count:
            rows = slice(start, start + self.together)
            stacked = {name: tensor[rows] for name, tensor in {**weights, **self.state}.items()}
            predicted = torch.vmap(lambda state: predict(partial(self._head, state), features, patch, size))(stacked)
            start += len(predicted)
            self.together = max(1, MAPS // predicted[0].numel())
            yield predicted

    def _head(self, state: dict[str, Tensor], features: Features, size: tuple[int, int]) -> Tensor:
        return torch.func.functional_call(self.module.head, state, (features, size))

    def _thinned(self, features: Features, target: Tensor) -> tuple[int, Tensor]:
        """The pixels along a cell's edge that are predicted, and the target there."""
        if target.dim() < 3 or not self.recipe.fine:
            return self.patch, target
        left = min(
            n for n in range(1, self.patch + 1) if self.patch % n == 0 and n >= min(self.recipe.fine, self.patch)
        )
        finer = max(1, round(target.shape[-1] / (features.grid.shape[-1] * self.patch)))
        every = self.patch // left * finer
        row, column = torch.randint(every, (2,), generator=self.shuffle).tolist()
        return left, target[..., row::every, column::every]

    @torch.no_grad()
    def look(self, val: Rows) -> bool:
        """Keep the best head so far; whether it is better than at the last such look by a thousandth.

        Where the score counts images, many heads are within its standard error of the highest; of those the lowest loss
        is the best (Breiman et al. 1984). Of heads that have all images right it is the first: the loss of the others
        only falls as they grow surer, until it is 0 and an attack finds no slope.
        """
        self.module.head.eval()
        device = next(iter(self.mean.values())).device

        def predicted(features: Features, target: Tensor) -> Iterator[Tensor]:
            return self._predictions(self.mean, self.module.standardise(features), target, self.patch)

        for i, seen in enumerate(_seen(self.task, predicted, val, device)):
            self.top = max(self.top, seen.score)  # the first, where the second is no number
            enough = self.top - seen.error
            alike = seen.error > 0 and seen.loss < self.kept.loss
            if seen.score >= enough and (self.kept.score < enough or alike):
                self.kept, self.state_kept = seen, self._state(i)
                self.module.rate.fill_(0.0 if seen.score == 1 else self.recipe.rates[i])
        mark, now = self.mark, self.kept._replace(score=self.top)
        rises = mark == NOTHING or now.score > mark.score + abs(mark.score) * BETTER
        better = rises or (now.error > 0 and now.loss < mark.loss * (1 - BETTER))
        self.mark = now if better else mark
        return better

    def best(self) -> Standardised:
        """The best head of all.

        Raises:
            CellError: none has a finite metric.
        """
        if self.top == -torch.inf:
            raise CellError(
                f"no {self.task.name} head has a finite {self.task.headline} on the val split; check the features and "
                "the targets"
            )
        self.module.head.load_state_dict(self.state_kept, strict=False)
        return self.module.eval()


def evaluate(task: Task, head: nn.Module, patch: int, rows: Rows, device: str = "cpu") -> float:
    """The task's headline metric of a head on (features, target) batches."""

    def predicted(features: Features, target: Tensor) -> Iterator[Tensor]:
        yield predict(head, features, patch, _size(features, patch, target))[None]

    return task.summarise(_totals(task, predicted, rows, torch.device(device))[0])[task.headline]


def _seen(
    task: Task, predicted: Callable[[Features, Tensor], Iterator[Tensor]], rows: Rows, device: torch.device
) -> Iterator[Seen]:
    sign = 1 if task.higher_is_better else -1
    for total in _totals(task, predicted, rows, device):
        headline, error = task.summarise(total)[task.headline], 0.0
        if task.headline in task.proportions:
            right, of = (total[key].item() for key in task.proportions[task.headline])
            error = math.sqrt(right * (of - right) / of**3)
        yield Seen(sign * headline, total.get("loss", torch.zeros(())).item(), error)


@torch.no_grad()
def _totals(
    task: Task, predicted: Callable[[Features, Tensor], Iterator[Tensor]], rows: Rows, device: torch.device
) -> list[dict[str, Tensor]]:
    """The sums of the statistics of each of several heads, whose predictions [R, B, ...] come in any number of parts;
    with the loss where a target is one number."""
    totals: dict[str, Tensor] = {}
    pieces = (
        parts
        for features, target in rows
        for parts in zip(features.pooled.split(BATCH), features.grid.split(BATCH), target.split(BATCH))
    )
    for piece in pieces:

        def score(rows: range, piece: Sequence[Tensor] = piece) -> Mapping[str, Tensor]:
            pooled, grid, target = (part[rows.start : rows.stop] for part in piece)
            features, target = ready(pooled, grid, target, device)
            return join([_scored(task, part, target) for part in predicted(features, target)])

        for key, value in halved(score, _added, range(len(piece[-1]))).items():
            totals[key] = totals[key] + value if key in totals else value
    count = len(next(iter(totals.values())))
    return [{key: value[i] for key, value in totals.items()} for i in range(count)]


def _scored(task: Task, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The sums of the statistics of each of several heads, from predictions [R, B, ...]."""
    repeated = target.expand(len(predicted), *target.shape).flatten(0, 1)
    predicted = predicted.flatten(0, 1)
    rows = dict(task.score(predicted, repeated))
    if task.headline in task.proportions:
        rows["loss"] = task.loss(predicted, repeated)
    return {key: value.unflatten(0, (-1, len(target))).sum(1) for key, value in rows.items()}


def _added(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([part[key] for part in parts]).sum(0) for key in parts[0]}


def _size(features: Features, patch: int, target: Tensor) -> tuple[int, int]:
    """Where to predict: at the target's own size, but never finer than the encoder saw (the task enlarges the rest of
    the way)."""
    rows, columns = features.grid.shape[-2:]
    if target.dim() < 3:
        return rows * patch, columns * patch
    return min(rows * patch, target.shape[-2]), min(columns * patch, target.shape[-1])
