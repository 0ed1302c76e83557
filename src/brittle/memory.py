"""Work on a batch done in halves, as often as memory asks."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from brittle.errors import CellError
from brittle.types import Batch

Made = TypeVar("Made")


def halving(work: Callable[[Batch], Made], join: Callable[[list[Made]], Made], batch: Batch) -> Made:
    """What ``work`` makes of a batch, or, ``join``ed, of its halves; that changes no number since randomness belongs to each image.

    Raises:
        CellError: a single picture is too much.
    """
    try:
        return work(batch)
    except RuntimeError as error:
        memory = isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)  # the CPU's own has no class
        if not memory:
            raise
        if len(batch.images) == 1:
            raise CellError("out of memory with a single picture; use a smaller encoder, smaller pictures, or more memory") from None
    half = len(batch.images) // 2
    return join([halving(work, join, batch.rows(cut)) for cut in (range(half), range(half, len(batch.images)))])


def joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors [B, ...] by name, of parts put one after the other."""
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
