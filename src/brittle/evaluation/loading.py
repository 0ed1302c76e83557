"""Samples to batches, with every target checked against the data set's classes."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import torch
from torch import Tensor

from brittle.core.progress import progress
from brittle.evaluation.machine import Machine
from brittle.evaluation.protocol import Protocol, preprocess
from brittle.types.data import Batch, Dataset
from brittle.types.seen import Seen
from brittle.types.target import Target
from brittle.types.task import Task

READERS = 4  # threads
AT_ONCE, PIXELS = 64, 64 * 224**2  # images in a batch, and pixels in all of them, where no batch size is given


def batches(
    dataset: Dataset, indices: Sequence[int], task: Task, protocol: Protocol, machine: Machine
) -> Iterator[Batch]:
    """Batches of the images ``indices``, in that order; neighbours of unequal shape never share one.

    Args:
        machine: its ``batch_size`` 0 means 64 of 224x224 and fewer larger ones, on a GPU eight times as many of those
            (64 at most); its ``workers`` are threads that read images, a batch ahead of what is asked for; 0 are none
            on the CPU and ``READERS`` where a GPU would wait for them.

    Raises:
        UsageError: a target that the data set's classes do not have, or one that does not match its image.
    """
    classes = classes_of(dataset, task.target)

    def load(index: int) -> tuple[Tensor, Tensor, str]:
        sample, name = dataset[index], dataset.ids[index]
        kind = task.target
        if kind:
            target = kind.scored(sample.target(kind), classes)
            kind.inspect(target, sample.image.shape[-2:], classes, name)
            sample = sample._replace(targets={kind.name: target})
        return (*preprocess(sample, kind, protocol), name)

    held: list[tuple[Tensor, Tensor, str]] = []
    for row in _read(load, indices, machine):
        if held and (row[0].shape, row[1].shape) != (held[0][0].shape, held[0][1].shape):
            yield _stacked(held, machine.device)
            held = []
        held.append(row)
        if len(held) == (machine.batch_size or most(row[0], machine.device)):
            yield _stacked(held, machine.device)
            held = []
    if held:
        yield _stacked(held, machine.device)


def _read(
    load: Callable[[int], tuple[Tensor, Tensor, str]], indices: Sequence[int], machine: Machine
) -> Iterator[tuple[Tensor, Tensor, str]]:
    """What ``load`` gives for each index, in order; no more than a batch waits to be used, since images may be
    large."""
    workers = machine.workers or (READERS if machine.device.startswith("cuda") else 0)
    if not workers or not indices:
        yield from map(load, indices)
        return
    first, left = load(indices[0]), iter(indices[1:])
    ahead = max(workers, machine.batch_size or most(first[0], machine.device))
    pool = ThreadPoolExecutor(workers)
    try:
        waiting = deque(pool.submit(load, index) for index in islice(left, ahead))
        yield first
        while waiting:
            row = waiting.popleft().result()
            waiting.extend(pool.submit(load, index) for index in islice(left, 1))
            yield row
    finally:
        pool.shutdown(cancel_futures=True)  # whoever asked may have stopped on the way


def most(image: Tensor, device: str) -> int:
    """How many images of this shape make a batch."""
    room = PIXELS * (8 if device.startswith("cuda") else 1)
    return max(1, min(AT_ONCE, room // image[0].numel()))


def _stacked(rows: Sequence[tuple[Tensor, Tensor, str]], device: str) -> Batch:
    images, targets, names = zip(*rows)
    return Batch(torch.stack(images).to(device), torch.stack(targets).to(device), names)


def classes_of(dataset: Dataset, target: Target | None) -> int:
    """How many classes targets of a kind have in a data set; 0 where they are no classes."""
    return len(dataset.classes[target.name]) if target else 0


def inspect_targets(dataset: Dataset, indices: Sequence[int], task: Task) -> Seen:
    """Look at the targets of the images ``indices``, so that a wrong one at the end is not found after hours of
    attacking; see ``Dataset.glance``. Returns what they show.

    Raises:
        UsageError: as ``batches``.
        CellError: a target cannot be read.
    """
    seen = Seen(task, dataset.classes[task.target.name] if task.target else ())
    if task.target is None:
        return seen
    classes = classes_of(dataset, task.target)
    with progress(f"looking at each {task.target.name}", len(indices)) as advance:
        for index in indices:
            size, target = dataset.glance(index, task.target.name)
            target = task.target.scored(target, classes)
            task.target.inspect(target, size, classes, dataset.ids[index])
            seen.add(target)
            advance(1)
    return seen
