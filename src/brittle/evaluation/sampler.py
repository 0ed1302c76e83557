"""Features in mixed batches, for the fit of heads."""

from collections.abc import Sequence

import torch
from torch import Tensor

from brittle.evaluation.recomputed import Recomputed, View
from brittle.types import Features

ROOM = 2**30  # bytes of features and targets that are copied into one tensor in the memory of the CPU
Kept = Sequence[tuple[Features, Tensor]]
Rows = Kept | Recomputed
"""(features, target) of batches, which are gone through many times."""


class Sampler:
    """Draws mixed batches from others, each image once an epoch; only images of one shape share a batch. What takes at
    most half of a GPU's free memory, or ``ROOM`` on the CPU, is moved there once; of anything larger each batch is, so
    that of a large data set the features stay where they are."""

    def __init__(self, rows: Rows, batch: int, shuffle: torch.Generator, device: str) -> None:
        self.device, self.batch, self.shuffle = torch.device(device), batch, shuffle
        self.groups: Sequence[_Kept | _Computed]
        if isinstance(rows, Recomputed):
            self.groups = [_Computed(rows, views) for views in rows.views]
        else:
            self.groups = _kept(rows, self.device)
        self.queue: list[tuple[int, Tensor]] = []

    def draw(self) -> tuple[Features, Tensor]:
        if not self.queue:
            for number, group in enumerate(self.groups):
                order = torch.randperm(len(group), generator=self.shuffle)
                self.queue += [(number, part) for part in order.split(self.batch)]
            order = torch.randperm(len(self.queue), generator=self.shuffle).tolist()
            self.queue = [self.queue[i] for i in order]
        number, index = self.queue.pop()
        (pooled, grid), target = self.groups[number].take(index)
        return ready(pooled, grid, target, self.device)


class _Kept:
    """Images of one shape, of which pooled features, grids and targets are each one tensor, or one for each image."""

    def __init__(self, parts: Sequence[Tensor] | Sequence[Sequence[Tensor]]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts[-1])

    def take(self, index: Tensor) -> tuple[Features, Tensor]:
        pooled, grid, target = (
            part[index.to(part.device)] if isinstance(part, Tensor) else torch.stack([part[i] for i in index.tolist()])
            for part in self.parts
        )
        return Features(pooled, grid), target


class _Computed:
    """Images of one shape, whose features are computed when they are taken."""

    def __init__(self, rows: Recomputed, views: Sequence[View]) -> None:
        self.rows, self.views = rows, views

    def __len__(self) -> int:
        return len(self.views)

    def take(self, index: Tensor) -> tuple[Features, Tensor]:
        return self.rows.take([self.views[i] for i in index.tolist()])


def _kept(rows: Kept, device: torch.device) -> list[_Kept]:
    groups: dict[tuple[torch.Size, torch.Size], list[list[Tensor]]] = {}
    for features, target in rows:  # unbound, not copied: they fill the memory once, not twice
        group = groups.setdefault((features.grid.shape[1:], target.shape[1:]), [[], [], []])
        for parts, part in zip(group, (*features, target)):
            parts.extend(part.unbind())
    size = sum(part.nbytes for features, target in rows for part in (*features, target))
    free = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else ROOM
    if size > free:
        return [_Kept(group) for group in groups.values()]
    return [_Kept([torch.stack(parts).to(device) for parts in group]) for group in groups.values()]


def ready(pooled: Tensor, grid: Tensor, target: Tensor, device: torch.device) -> tuple[Features, Tensor]:
    """Features and target on a device, in the types that heads and losses take."""
    features = Features(pooled.to(device).float(), grid.to(device).float())
    return features, target.to(device) if target.is_floating_point() else target.to(device).long()
