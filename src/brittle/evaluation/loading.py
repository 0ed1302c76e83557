"""Samples to batches, with every target checked against the data set's classes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from brittle.core.progress import progress
from brittle.evaluation.machine import Machine
from brittle.evaluation.protocol import Protocol, preprocess
from brittle.types.data import Batch, Dataset
from brittle.types.seen import Seen
from brittle.types.target import Target
from brittle.types.task import Task

AT_ONCE, PIXELS = 64, 64 * 224**2  # images in a batch, and pixels in all of them, where no batch size is given


def batches(
    dataset: Dataset, indices: Sequence[int], task: Task, protocol: Protocol, machine: Machine
) -> Iterator[Batch]:
    """Batches of the images ``indices``, in that order; neighbours of unequal shape never share one.

    Args:
        machine: its ``batch_size`` 0 means 64 of 224x224 and fewer larger ones, on a GPU eight times as many of those
            (64 at most); its ``workers`` are threads that read images.

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
    for row in _read(load, indices, machine.workers):
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
    load: Callable[[int], tuple[Tensor, Tensor, str]], indices: Sequence[int], workers: int
) -> Iterator[tuple[Tensor, Tensor, str]]:
    """What ``load`` gives for each index, in order; no more than a few wait to be used, since images may be large."""
    if not workers:
        yield from map(load, indices)
        return
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(indices), 2 * workers):
            yield from pool.map(load, indices[start : start + 2 * workers])


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
