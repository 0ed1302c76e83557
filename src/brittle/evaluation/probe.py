"""Heads on frozen features: a grid of learning rates fitted at once in one pass over the data, the best chosen on
held-out images."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from brittle.attacks.parts.halving import whole
from brittle.core.errors import CellError
from brittle.core.progress import progress
from brittle.evaluation import looks
from brittle.evaluation.axes import Axes
from brittle.evaluation.recipe import Recipe
from brittle.evaluation.sampler import Rows, Sampler
from brittle.tasks.parts.standardised import Standardised
from brittle.types import Features, Memory, Task, predict

VERSION = 8
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
    evaluation: one pass of the features feeds them all) and of all looks at ``val``, at some of which the worse half of
    the heads of a dense task is left behind, until there is one.

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
    axes = Axes(task.on_cells if recipe.standardise else {})
    count = module.measure(axes.watched(train)) if recipe.standardise else sum(len(target) for _, target in train)
    axes.find(module.to(device))
    shuffle = torch.Generator().manual_seed(seed)
    grid = _Grid(task, module, axes, patch, recipe, shuffle=shuffle)
    steps = recipe.total(count)
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
                if step % (recipe.halving * every) == 0:
                    grid.halve()
    return grid.best()


class _Kept(NamedTuple):
    """A head that a look at the val split found: its weights, and the rate that it was fitted with."""

    seen: looks.Seen
    state: Mapping[str, Tensor]
    rate: float


class _Grid:
    """One head for each learning rate, all fitted at once: their weights are stacked, and so are their predictions.
    ``weights`` and their ``mean`` are along the principal axes of features, ``held`` is the mean as the head has it."""

    def __init__(
        self, task: Task, module: Standardised, axes: Axes, patch: int, recipe: Recipe, *, shuffle: torch.Generator
    ) -> None:
        self.task, self.module, self.axes, self.patch = task, module, axes, patch
        self.recipe, self.shuffle = recipe, shuffle
        self.rates, self.together = list(recipe.rates), 1
        self.weights, self.state = (
            {name: tensor.detach().expand(len(self.rates), *tensor.shape).clone() for name, tensor in named}
            for named in (module.head.named_parameters(), module.head.named_buffers())
        )
        self.weights = axes.along_axes(self.weights)
        self.mean = {name: tensor.clone() for name, tensor in self.weights.items()}
        self._ready()
        self.front = list[_Kept]()
        self.mark, self.seen = looks.NOTHING, list[looks.Seen]()
        groups = [{"params": self._views(i), "lr": rate} for i, rate in enumerate(self.rates)]
        self.optimiser = OPTIMISERS[recipe.optimiser](groups, weight_decay=recipe.decay, fused=True)

    def _ready(self) -> None:
        """Make room for gradients. Without a mean of the weights the weights themselves are looked at."""
        for tensor in self.weights.values():
            tensor.requires_grad_().grad = torch.zeros_like(tensor)
        if self.recipe.schedule != "mean":
            self.mean = {name: tensor.detach() for name, tensor in self.weights.items()}

    def _views(self, index: int) -> list[Tensor]:
        """The weights of one head for the optimiser, their gradients with them, in the memory of the stack."""
        views: list[Tensor] = []
        for tensor in self.weights.values():
            assert tensor.grad is not None
            views.append(tensor.detach()[index])
            views[-1].grad = tensor.grad[index]
        return views

    def _state(self, index: int) -> dict[str, Tensor]:
        return {name: tensor[index].clone() for name, tensor in (self.held | self.state).items()}

    def step(self, features: Features, target: Tensor, number: int, of: int) -> float:
        """Step ``number`` from 1 of so many; the lowest loss before it."""
        features = self.module.standardise(features)
        patch, target = self._thinned(features, target)
        self.module.head.train(not self.recipe.standardise)
        if self.recipe.schedule == "cosine":
            for group, rate in zip(self.optimiser.param_groups, self.rates):
                group["lr"] = rate * (1 + math.cos(math.pi * (number - 1) / of)) / 2
        for tensor in self.weights.values():
            assert tensor.grad is not None
            tensor.grad.zero_()
        losses: list[float] = []
        with whole(f"a step of {len(target)} images in the fit of a {self.task.name} head"):
            for predicted in self._predictions(self.weights, features, target, patch, self.axes.along_channels):
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
        self,
        weights: Mapping[str, Tensor],
        features: Features,
        target: Tensor,
        patch: int,
        turned: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = dict,
    ) -> Iterator[Tensor]:
        """[R, B, ...] of so many heads at once as ``MAPS`` allows, one after the other, with their weights ``turned``
        first."""
        size, start = looks.size(features, patch, target), 0
        while start < len(self.rates):
            rows = slice(start, start + self.together)
            of_rows, state = ({name: tensor[rows] for name, tensor in part.items()} for part in (weights, self.state))
            stacked = turned(of_rows) | state
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
        height, width = target.shape[-2:]  # which may be less than a step
        return left, target[..., row % height :: every, column % width :: every]

    @torch.no_grad()
    def look(self, val: Rows) -> bool:
        """Keep the best head so far; whether it is better than at the last such look by a thousandth.

        Where the score counts images, many heads are within its standard error of the highest; of those the lowest loss
        is the best (Breiman et al. 1984). Kept is each that may yet be that one, as no other is better in both.
        """
        self.module.head.eval()
        self.held = self.axes.along_channels(self.mean)
        device = next(iter(self.held.values())).device

        def predicted(features: Features, target: Tensor) -> Iterator[Tensor]:
            return self._predictions(self.held, self.module.standardise(features), target, self.patch)

        self.seen = list(looks.seen(self.task, predicted, val, device))
        for i, seen in enumerate(self.seen):
            if seen.score > -torch.inf and not any(kept.seen.covers(seen) for kept in self.front):
                front = [kept for kept in self.front if not seen.covers(kept.seen)]
                self.front = [*front, _Kept(seen, self._state(i), self.rates[i])]
        if not self.front:
            return False
        top = max((kept.seen for kept in self.front), key=lambda seen: seen.score)
        self.front = [kept for kept in self.front if kept.seen.score >= top.score - top.error]
        mark, now = self.mark, top._replace(loss=min(kept.seen.loss for kept in self.front))
        rises = mark == looks.NOTHING or now.score > mark.score + abs(mark.score) * BETTER
        better = rises or now.loss < mark.loss * (1 - BETTER)
        self.mark = now if better else mark
        return better

    def halve(self) -> None:
        """The better half of the heads goes on (successive halving, Jamieson and Talwalkar 2016). Where the score
        counts images all do: their order changes late, and they cost little."""
        if self.task.headline in self.task.proportions:
            return
        order = sorted(range(len(self.rates)), key=lambda i: max(-torch.inf, self.seen[i].score), reverse=True)
        stay = sorted(order[: (len(order) + 1) // 2])
        self.rates = [self.rates[i] for i in stay]
        self.weights, self.mean, self.state = (
            {name: tensor.detach()[stay] for name, tensor in held.items()}
            for held in (self.weights, self.mean, self.state)
        )
        self._ready()
        groups = [self.optimiser.param_groups[i] for i in stay]
        for i, group in enumerate(groups):
            views = self._views(i)
            for old, new in zip(group["params"], views):
                self.optimiser.state[new] = self.optimiser.state.pop(old)
            group["params"] = views
        self.optimiser.param_groups = groups

    def best(self) -> Standardised:
        """The best head of all.

        Raises:
            CellError: none has a finite metric.
        """
        if not self.front:
            raise CellError(
                f"no {self.task.name} head has a finite {self.task.headline} on the val split; check the features and "
                "the targets"
            )
        best = min(self.front, key=lambda kept: kept.seen.loss)
        self.module.rate.fill_(0.0 if best.seen.score == 1 else best.rate)
        self.module.head.load_state_dict(best.state, strict=False)
        return self.module.eval()
