"""Sliding windows over images larger than an encoder's: the exact gradient of the averaged map, with one window in
memory at a time."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Place = tuple[slice, slice]
Seen = TypeVar("Seen")


def places(height: int, width: int, window: int, stride: int) -> list[Place]:
    """Rows and columns of each window: every ``stride`` pixels, the last ones moved back inside, none larger than the
    image."""
    return [(rows, columns) for rows in _line(height, window, stride) for columns in _line(width, window, stride)]


def _line(length: int, window: int, stride: int) -> list[slice]:
    count = max(length - window + stride - 1, 0) // stride + 1
    ends = [min(i * stride + window, length) for i in range(count)]
    return [slice(max(end - window, 0), end) for end in ends]


def over(function: Callable[[Tensor], Seen], images: Tensor, window: int, stride: int) -> Iterator[tuple[Place, Seen]]:
    """``function`` of each window of ``images`` [B,3,H,W], with its place. Where a gradient is wanted a window's graph
    is not kept but made again on the way back (gradient checkpointing, Chen et al. 2016), so memory does not grow with
    the number of windows."""
    height, width = images.shape[-2:]
    for rows, columns in places(height, width, window, stride):
        part = images[..., rows, columns]
        if torch.is_grad_enabled() and images.requires_grad:
            yield (rows, columns), checkpoint(function, part, use_reentrant=False)
        else:
            yield (rows, columns), function(part)


def mean_map(function: Callable[[Tensor], Tensor], images: Tensor, window: int, stride: int) -> Tensor:
    """[B,C,H,W]: ``function``'s maps [B,C,h,w] of all windows, averaged where they overlap."""
    total: Tensor | None = None
    count = images.new_zeros(images.shape[-2:])
    for (rows, columns), part in over(function, images, window, stride):
        if total is None:
            total = part.new_zeros(*part.shape[:2], *images.shape[-2:])
        total[..., rows, columns] += part
        count[rows, columns] += 1
    assert total is not None
    return total / count
