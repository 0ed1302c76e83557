"""Features that are computed each time they are read, where there is no room to keep them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from brittle.types import Batch, Features


class View(NamedTuple):
    """One of the views and windows in which an image is seen: which image, and which of them in order."""

    name: str
    number: int


class Recomputed:
    """(features, target) of batches, computed each time that they are gone through, and of single views in any order,
    which are the same but for rounding.

    Args:
        ids: names of all images, none twice.
        seen: batches of those images of which it is given the places, one after the other in all their views and
            windows.
        look: the features of a batch of images (float16, on the CPU).
    """

    def __init__(
        self,
        ids: Sequence[str],
        seen: Callable[[Sequence[int]], Iterable[Batch]],
        look: Callable[[Batch], Features],
    ) -> None:
        self.ids, self.seen, self.look = ids, seen, look
        self._shapes: list[tuple[tuple[torch.Size, torch.Size], View]] | None = None

    def __iter__(self) -> Iterator[tuple[Features, Tensor]]:
        shapes: list[tuple[tuple[torch.Size, torch.Size], View]] = []
        count = Counter[str]()
        for batch in self.seen(range(len(self.ids))):
            features, target = self.look(batch), batch.target.cpu()
            shape = features.grid.shape[1:], target.shape[1:]
            shapes += [(shape, View(name, count[name])) for name in batch.ids]
            count.update(batch.ids)
            yield features, target
        self._shapes = shapes

    @property
    def views(self) -> list[list[View]]:
        """All views, those of one shape together. Known once all have been gone through."""
        for _ in self if self._shapes is None else ():
            pass
        assert self._shapes is not None
        groups: dict[tuple[torch.Size, torch.Size], list[View]] = {}
        for shape, view in self._shapes:
            groups.setdefault(shape, []).append(view)
        return list(groups.values())

    def take(self, wanted: Sequence[View]) -> tuple[Features, Tensor]:
        """Features and target of views of one shape, in that order."""
        found: dict[View, tuple[Tensor, Tensor]] = {}
        count, asked = Counter[str](), set(wanted)
        for batch in self.seen([self._places[name] for name in dict.fromkeys(view.name for view in wanted)]):
            for name, image, target in zip(batch.ids, batch.images, batch.target):
                view = View(name, count[name])
                count[name] += 1
                if view in asked:
                    found[view] = image, target.cpu()
        images, targets = zip(*(found[view] for view in wanted))
        target = torch.stack(targets)
        return self.look(Batch(torch.stack(images), target, [view.name for view in wanted])), target

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.ids)}
