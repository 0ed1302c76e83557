"""Work on a batch that is split in halves as often as memory requires."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from brittle.core.errors import CellError
from brittle.types import Batch
from brittle.types.model import out_of_memory

Output = TypeVar("Output")
REMEDY = "use a smaller encoder, smaller images, or more memory"


class NoMemory(CellError):
    """Memory ran out where nothing is left to be halved."""


def split_on_oom(work: Callable[[Batch], Output], join: Callable[[list[Output]], Output], batch: Batch) -> Output:
    """``work`` done on a batch, or, ``join``ed, on its halves; that changes no number since randomness belongs to each
    image.

    Raises:
        NoMemory: a single image does not fit in memory.
    """
    count = len(batch.images)
    return halved(lambda rows: work(batch if len(rows) == count else batch.rows(rows)), join, range(count))


def halved(work: Callable[[range], Output], join: Callable[[list[Output]], Output], rows: range) -> Output:
    """``work`` done on consecutive rows of something, or on each half of them, as ``split_on_oom`` does."""
    try:
        return work(rows)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        if len(rows) < 2:
            raise NoMemory(f"out of memory with a single image; {REMEDY}") from None
    half = len(rows) // 2  # out here, where the error and what its frames held are gone
    return join([halved(work, join, part) for part in (rows[:half], rows[half:])])


@contextmanager
def whole(what: str) -> Generator[None]:
    """Inside is what cannot be done in halves without another result, such as a step of training.

    Raises:
        NoMemory: it does not fit in memory, with ``what`` it is.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise NoMemory(f"out of memory in {what}, which cannot be halved; {REMEDY}") from None


def join(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors [B, ...] by name, the parts concatenated."""
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
