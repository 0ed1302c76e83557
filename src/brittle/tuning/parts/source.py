"""The images of a tuning run by step number, read ahead: the same ones for the same step, however the run was stopped
and whoever shares its batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from brittle.core.errors import UsageError
from brittle.tuning.parts.augment import augmented
from brittle.tuning.parts.recipe import Recipe
from brittle.types import Batch


class Item(NamedTuple):
    """An image [3,S,S] in [0,1], its target (empty where there is none), and the name of this sight of it."""

    image: Tensor
    target: Tensor
    name: str


@dataclass(frozen=True)
class Source:
    """What a tuning run is fed with.

    Args:
        read: the image and the target of a place.
        names: of all images, by place.
        seed: of their order, their views, and an attack's starts.
        classes: how many classes the targets have; 0 where they are no classes or there are none.
    """

    read: Callable[[int], tuple[Tensor, Tensor]]
    names: Sequence[str]
    seed: int = 0
    classes: int = 0

    def __len__(self) -> int:
        return len(self.names)

    def item(self, place: int, step: int, how: str) -> Item:
        """An image as a step sees it."""
        image, target = self.read(place)
        if target.dim() > 1 and how != "none":
            raise UsageError(f"augment={how} moves the image and not its target of {list(target.shape)}; take none")
        name = f"{self.names[place]}@{step}"
        return Item(augmented(image, how, self.seed, name), target, name)

    def some(self, count: int) -> Iterator[Batch]:
        """Up to ``count`` images as they are, drawn by the seed, in batches: for what is measured before training."""
        places: list[int] = _order(len(self), self.seed).tolist()[:count]
        for start in range(0, len(places), 64):
            rows = [(self.read(place), self.names[place]) for place in places[start : start + 64]]
            yield collated([Item(image, target, name) for (image, target), name in rows])


def shuffled(count: int, batch: int, seed: int, step: int) -> Sequence[int]:
    """Places of a step's batch: each epoch a new order of ``count`` images, incomplete last batches left out."""
    epoch, place = divmod(step, max(count // batch, 1))
    return _order(count, seed * 1_000_003 + epoch)[place * batch : (place + 1) * batch].tolist()


@lru_cache(maxsize=2)
def _order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def collated(items: Sequence[Item]) -> Batch:
    """A batch of items."""
    images, targets, names = zip(*items)
    return Batch(torch.stack(images), torch.stack(targets), list(names))


class _Sights(Dataset[Any]):
    def __init__(self, source: Source, how: str) -> None:
        self.source, self.how = source, how

    def __getitem__(self, sight: tuple[int, int]) -> Item:
        return self.source.item(*sight, self.how)


class _Steps(Sampler[list[tuple[int, int]]]):
    """Of each step's batch the part of one device."""

    def __init__(self, source: Source, batch: int, steps: range, rank: int, world: int) -> None:
        self.source, self.batch, self.steps, self.rank, self.world = source, batch, steps, rank, world

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in self.steps:
            places = shuffled(len(self.source), self.batch, self.source.seed, step)
            yield [(place, step) for place in places[self.rank :: self.world]]

    def __len__(self) -> int:
        return len(self.steps)


def loader(source: Source, recipe: Recipe, steps: range, *, rank: int = 0, world: int = 1) -> DataLoader[Any]:
    """Batches of the steps, of each the part that belongs to one of ``world`` devices."""
    order = _Steps(source, min(recipe.batch, len(source)), steps, rank, world)
    sights = _Sights(source, recipe.augment)
    return DataLoader(sights, batch_sampler=order, collate_fn=collated, num_workers=recipe.workers)
