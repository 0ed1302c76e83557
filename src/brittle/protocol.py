"""How a picture becomes what the encoder sees and what a prediction is scored on."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import torch
from torch import Tensor

from brittle.errors import UsageError
from brittle.types import Batch, Dataset, Sample, Task, as_float

STANDARD = "standard"
VOID = 255


def fit(sample: Sample, task: Task, size: int) -> tuple[Tensor, Tensor]:
    """Picture [3,H,W] float32 in [0,1] and target, under the ``standard`` protocol.

    The shorter edge is brought to ``size`` (bicubic, antialiased); classification then takes the centre ``size`` x ``size``. Dense targets
    keep their own resolution: a prediction is brought to it, never the target to the prediction.
    """
    image = as_float(sample.image)
    height, width = image.shape[1:]
    if min(height, width) != size:
        scale = size / min(height, width)
        new = (max(size, round(height * scale)), max(size, round(width * scale)))
        image = torch.nn.functional.interpolate(image[None], size=new, mode="bicubic", antialias=True)[0].clamp(0, 1)
    if task.target == "label":
        top, left = (image.shape[1] - size) // 2, (image.shape[2] - size) // 2
        image = image[:, top : top + size, left : left + size]
    return image, sample.targets[task.target]


def batches(
    dataset: Dataset, indices: Sequence[int], task: Task, size: int, batch_size: int, *, workers: int = 0, device: str = "cpu"
) -> Iterator[Batch]:
    """Batches of the pictures ``indices``, in that order; neighbours of unequal shape never share one.

    Raises:
        UsageError: a target that the data set's classes do not have, or one that does not match its picture.
    """
    classes = len(dataset.classes[task.target])

    def load(index: int) -> tuple[Tensor, Tensor, str]:
        sample, name = dataset[index], dataset.ids[index]
        _check(sample, task, classes, name)
        return (*fit(sample, task, size), name)

    for start in range(0, len(indices), batch_size):
        part = indices[start : start + batch_size]
        if workers:
            with ThreadPoolExecutor(workers) as pool:
                rows = list(pool.map(load, part))
        else:
            rows = [load(index) for index in part]
        for _, group in groupby(rows, key=lambda row: (row[0].shape, row[1].shape)):
            images, targets, names = zip(*group)
            yield Batch(torch.stack(images).to(device), torch.stack(targets).to(device), names)


def _check(sample: Sample, task: Task, classes: int, name: str) -> None:
    target = sample.targets[task.target]
    if target.dim() > 1 and target.shape[-2:] != sample.image.shape[-2:]:
        shapes = " and ".join("x".join(map(str, shape)) for shape in (sample.image.shape[-2:], target.shape[-2:]))
        raise UsageError(f"{name}: picture and {task.target} are {shapes}; they must have one size")
    if classes:
        odd = (
            target[(target != VOID) & ((target < 0) | (target >= classes))] if target.dim() else target[(target < 0) | (target >= classes)]
        )
        if odd.numel():
            raise UsageError(f"{name}: {task.target} {int(odd.flatten()[0])} is none of the {classes} classes; mend the data set")
