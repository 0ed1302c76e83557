"""Sliding windows over images larger than an encoder's: the exact gradient of the averaged map, with one window's graph
in memory at a time, and what else there is room for."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

Place = tuple[slice, slice]
Seen = TypeVar("Seen")
ROOM = 2**29  # bytes that may be kept of windows on the CPU; on a GPU half of what is free
ATTENTION = "scaled_dot_product"  # in the names of its operations: what takes longest to make again for its size


def places(height: int, width: int, window: int, stride: int) -> list[Place]:
    """Rows and columns of each window: every ``stride`` pixels, the last ones moved back inside, none larger than the
    image."""
    return [(rows, columns) for rows in _line(height, window, stride) for columns in _line(width, window, stride)]


def _line(length: int, window: int, stride: int) -> list[slice]:
    count = max(length - window + stride - 1, 0) // stride + 1
    ends = [min(i * stride + window, length) for i in range(count)]
    return [slice(max(end - window, 0), end) for end in ends]


def over(
    function: Callable[[Tensor], Seen], images: Tensor, window: int, stride: int, *, opaque: bool = False
) -> Iterator[tuple[Place, Seen]]:
    """``function`` of each window of ``images`` [B,3,H,W], with its place. Where a gradient is wanted, most of a
    window's graph is not kept but made again on the way back (gradient checkpointing, Chen et al. 2016), so memory
    hardly grows with the number of windows; kept is what there is room for: on a GPU whole graphs, on the CPU what
    attention gives, unless the function is ``opaque``, as compiled code is."""
    height, width = images.shape[-2:]
    graph = torch.is_grad_enabled() and images.requires_grad
    again = _Again(function, images.device, opaque) if graph else function
    for rows, columns in places(height, width, window, stride):
        yield (rows, columns), again(images[..., rows, columns])


class _Again(Generic[Seen]):
    """``function`` of windows of one shape, one after the other, with graphs that are made again on the way back, but
    for what is kept as long as there is room for what the next window keeps."""

    def __init__(self, function: Callable[[Tensor], Seen], device: torch.device, opaque: bool) -> None:
        self.function = function
        self.room = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else -1 if opaque else ROOM
        self.each = 0  # bytes, known after the first

    def __call__(self, part: Tensor) -> Seen:
        if self.each > self.room:
            return checkpoint(self.function, part, use_reentrant=False)
        seen, self.each = _whole(self.function, part) if part.is_cuda else _attention(self.function, part)
        self.room -= self.each
        return seen


def _whole(function: Callable[[Tensor], Seen], part: Tensor) -> tuple[Seen, int]:
    """What a function gives with its whole graph, and the bytes on the GPU that it left behind."""
    before = torch.cuda.memory_allocated(part.device)
    seen = function(part)
    return seen, torch.cuda.memory_allocated(part.device) - before


def _attention(function: Callable[[Tensor], Seen], part: Tensor) -> tuple[Seen, int]:
    """What a function gives with nothing kept of its graph but what attention gives, and the bytes of that."""
    sizes: list[int] = []

    def policy(context: Any, operation: object, *operands: Tensor, **_settings: object) -> CheckpointPolicy:
        if ATTENTION not in str(operation):
            return CheckpointPolicy.PREFER_RECOMPUTE
        if not context.is_recompute:
            sizes.append(operands[0].nbytes)  # of the queries, as large as what they get
        return CheckpointPolicy.MUST_SAVE

    contexts = partial(create_selective_checkpoint_contexts, policy)
    return checkpoint(function, part, use_reentrant=False, context_fn=contexts), sum(sizes)


def mean_map(
    function: Callable[[Tensor], Tensor], images: Tensor, window: int, stride: int, *, opaque: bool = False
) -> Tensor:
    """[B,C,H,W]: ``function``'s maps [B,C,h,w] of all windows, averaged where they overlap; ``opaque`` as in
    ``over``."""
    total: Tensor | None = None
    count = images.new_zeros(images.shape[-2:])
    for (rows, columns), part in over(function, images, window, stride, opaque=opaque):
        if total is None:
            total = part.new_zeros(*part.shape[:2], *images.shape[-2:])
        total[..., rows, columns] += part
        count[rows, columns] += 1
    assert total is not None
    return total.div_(count)
