"""Work on a batch that is split in halves as often as memory requires."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from brittle.core.errors import CellError
from brittle.types import Batch

Output = TypeVar("Output")


def split_on_oom(work: Callable[[Batch], Output], join: Callable[[list[Output]], Output], batch: Batch) -> Output:
    """``work`` done on a batch, or, ``join``ed, on its halves; that changes no number since randomness belongs to each
    image.

    Raises:
        CellError: a single image does not fit in memory.
    """
    try:
        return work(batch)
    except RuntimeError as error:
        # the CPU's own error has no class
        memory = isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
        if not memory:
            raise
        if len(batch.images) == 1:
            raise CellError(
                "out of memory with a single image; use a smaller encoder, smaller images, or more memory"
            ) from None
    half = len(batch.images) // 2
    return join([split_on_oom(work, join, batch.rows(cut)) for cut in (range(half), range(half, len(batch.images)))])


def join(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors [B, ...] by name, the parts concatenated."""
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
