"""Stored features in mixed batches, for the fit of heads."""

from collections.abc import Sequence

import torch
from torch import Tensor

from brittle.types import Features

ROOM = 2**30  # bytes of features and targets that are copied into one tensor in the memory of the CPU
Rows = Sequence[tuple[Features, Tensor]]


class Sampler:
    """Draws mixed batches from stored ones, each image once an epoch; only images of one shape share a batch. What
    takes at most half of a GPU's free memory, or ``ROOM`` on the CPU, is moved there once; of anything larger each
    batch is, so that of a large data set the features stay where they are."""

    def __init__(self, rows: Rows, batch: int, shuffle: torch.Generator, device: str) -> None:
        groups: dict[tuple[torch.Size, torch.Size], list[list[Tensor]]] = {}
        for features, target in rows:  # unbound, not copied: they fill the memory once, not twice
            group = groups.setdefault((features.grid.shape[1:], target.shape[1:]), [[], [], []])
            for parts, part in zip(group, (*features, target)):
                parts.extend(part.unbind())
        self.groups: list[list[list[Tensor]] | list[Tensor]] = list(groups.values())
        self.device, self.batch, self.shuffle = torch.device(device), batch, shuffle
        size = sum(part.nbytes for features, target in rows for part in (*features, target))
        free = torch.cuda.mem_get_info(self.device)[0] // 2 if self.device.type == "cuda" else ROOM
        if size <= free:
            self.groups = [[torch.stack(parts).to(self.device) for parts in group] for group in groups.values()]
        self.queue: list[tuple[int, Tensor]] = []

    def draw(self) -> tuple[Features, Tensor]:
        if not self.queue:
            for number, group in enumerate(self.groups):
                order = torch.randperm(len(group[-1]), generator=self.shuffle)
                self.queue += [(number, part) for part in order.split(self.batch)]
            order = torch.randperm(len(self.queue), generator=self.shuffle).tolist()
            self.queue = [self.queue[i] for i in order]
        number, index = self.queue.pop()
        pooled, grid, target = (
            part[index.to(self.device)] if isinstance(part, Tensor) else torch.stack([part[i] for i in index.tolist()])
            for part in self.groups[number]
        )
        return ready(pooled, grid, target, self.device)


def ready(pooled: Tensor, grid: Tensor, target: Tensor, device: torch.device) -> tuple[Features, Tensor]:
    """Stored features and target on a device, in the types that heads and losses take."""
    features = Features(pooled.to(device).float(), grid.to(device).float())
    return features, target.to(device) if target.is_floating_point() else target.to(device).long()
