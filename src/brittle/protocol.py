"""How a picture becomes what the encoder sees and what a prediction is scored on: size, resize rule, windows, crop, valid depth."""

import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from brittle import spec, windows
from brittle.errors import UsageError
from brittle.progress import progress
from brittle.types import Batch, Dataset, Encoder, Model, Sample, Task, as_float

VOID = 255
AT_ONCE, PIXELS = 64, 64 * 224**2  # pictures in a batch, and pixels in all of them, where nobody says how many


@dataclass(frozen=True)
class Protocol:
    """How one task is evaluated on one data set with one encoder.

    Args:
        size: the encoder's edge in pixels.
        resize: ``short``: the shorter edge is brought to ``size`` (bicubic, antialiased), the shape kept; ``none``: native resolution.
        crop: take the centre ``size`` x ``size`` after resizing (classification).
        window: edge of sliding windows over pictures larger than it, 0 for the whole picture at once.
        stride: between windows.
        valid: rows and columns of the target that count, at its own resolution (top, bottom, left, right); None for all.

    Targets keep their own resolution: a prediction is brought to it, never the target to the prediction.
    """

    size: int
    resize: Literal["short", "none"] = "short"
    crop: bool = False
    window: int = 0
    stride: int = 0
    valid: tuple[int, int, int, int] | None = None

    def describe(self) -> str:
        """One line for reports."""
        parts = [f"shorter edge {self.size}" if self.resize == "short" else "native resolution"]
        parts += ["centre crop"] if self.crop else []
        parts += [f"windows {self.window} / {self.stride}"] if self.window else []
        parts += [f"scored on rows {self.valid[0]}:{self.valid[1]}, columns {self.valid[2]}:{self.valid[3]}"] if self.valid else []
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@typing.runtime_checkable
class LabelFree(Task, typing.Protocol):
    """A task whose target no data set holds, since the model makes it of the pictures themselves: its ``target`` is empty, it fits every
    data set, and it is measured only where a plan names it."""

    def head_on(self, encoder: Encoder) -> nn.Module:
        """The head on that encoder, ready as it is: nothing is fitted where there is no target to fit it to."""
        ...

    def positives(self, model: Model, batch: Batch, attacked: bool) -> Tensor:
        """The target of a batch of clean pictures, which are to be scored as they are or attacked."""
        ...

    def together(self, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The statistics of all pictures [N, ...], where some come from comparing pictures with each other."""
        ...


def standard(dataset: str, task: Task, size: int) -> Protocol:
    """The correct protocol of a data set x task for an encoder of edge ``size``.

    Classification, and tasks without a target: shorter edge and centre crop. Dense tasks: shorter edge at the encoder's size, longer
    pictures in windows of that size, a third overlapping. A data set's module may say otherwise in ``RULES``, by the kind of target.

    Args:
        dataset: its spec.
    """
    module = spec.module("datasets", spec.parse(dataset).name)
    own: dict[str, Any] = dict(getattr(module, "RULES", {}).get(task.target, {}))
    if task.target in ("label", ""):
        return Protocol(size, crop=True, **own)
    if own.pop("whole", False):
        return Protocol(size, **own)
    return Protocol(size, window=size, stride=-(-size * 2 // 3), **own)


def fit(sample: Sample, task: Task, protocol: Protocol) -> tuple[Tensor, Tensor]:
    """Picture [3,H,W] float32 in [0,1] and target of a sample."""
    image, target = as_float(sample.image), target_of(sample.targets, task.target)
    size = protocol.size
    height, width = image.shape[1:]
    if protocol.resize == "short" and min(height, width) != size:
        scale = size / min(height, width)
        new = (max(size, round(height * scale)), max(size, round(width * scale)))
        image = torch.nn.functional.interpolate(image[None], size=new, mode="bicubic", antialias=True)[0].clamp(0, 1)
    if protocol.crop:
        top, left = (image.shape[1] - size) // 2, (image.shape[2] - size) // 2
        image = image[:, top : top + size, left : left + size]
    if protocol.valid and target.dim():
        top, bottom, left, right = protocol.valid
        kept = torch.zeros(target.shape[-2:], dtype=torch.bool)
        kept[top:bottom, left:right] = True
        target = torch.where(kept, target, torch.tensor(VOID if task.target == "mask" else 0).to(target.dtype))
    return image, target


def batches(
    dataset: Dataset, indices: Sequence[int], task: Task, protocol: Protocol, batch_size: int, *, workers: int = 0, device: str = "cpu"
) -> Iterator[Batch]:
    """Batches of the pictures ``indices``, in that order; neighbours of unequal shape never share one.

    Args:
        batch_size: pictures in a batch; 0 for 64 of 224x224 and fewer larger ones, on a GPU eight times as many of those (64 at most).
        workers: threads that read pictures.

    Raises:
        UsageError: a target that the data set's classes do not have, or one that does not match its picture.
    """
    classes = classes_of(dataset, task)

    def load(index: int) -> tuple[Tensor, Tensor, str]:
        sample, name = dataset[index], dataset.ids[index]
        _check(sample.image.shape[-2:], target_of(sample.targets, task.target), task.target, classes, name)
        return (*fit(sample, task, protocol), name)

    held: list[tuple[Tensor, Tensor, str]] = []
    for row in _read(load, indices, workers):
        if held and (row[0].shape, row[1].shape) != (held[0][0].shape, held[0][1].shape):
            yield _stacked(held, device)
            held = []
        held.append(row)
        if len(held) == (batch_size or _most(row[0], device)):
            yield _stacked(held, device)
            held = []
    if held:
        yield _stacked(held, device)


def _read(load: Callable[[int], tuple[Tensor, Tensor, str]], indices: Sequence[int], workers: int) -> Iterator[tuple[Tensor, Tensor, str]]:
    """What ``load`` gives for each index, in order; no more than a few wait to be used, since pictures may be large."""
    if not workers:
        yield from map(load, indices)
        return
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(indices), 2 * workers):
            yield from pool.map(load, indices[start : start + 2 * workers])


def _most(image: Tensor, device: str) -> int:
    """How many pictures of this shape make a batch."""
    room = PIXELS * (8 if device.startswith("cuda") else 1)
    return max(1, min(AT_ONCE, room // image[0].numel()))


def _stacked(rows: Sequence[tuple[Tensor, Tensor, str]], device: str) -> Batch:
    images, targets, names = zip(*rows)
    return Batch(torch.stack(images).to(device), torch.stack(targets).to(device), names)


def classes_of(dataset: Dataset, task: Task) -> int:
    """How many classes a task's targets have in a data set; 0 where they are no classes."""
    return len(dataset.classes[task.target]) if task.target else 0


def target_of(targets: Mapping[str, Tensor], kind: str) -> Tensor:
    """A sample's target of a kind; 0 stands for that of a task without one."""
    return targets[kind] if kind else torch.tensor(0)


def check(dataset: Dataset, count: int, task: Task) -> None:
    """Look at the targets of the first ``count`` pictures, so that a wrong one at the end is not found after hours of attacking. Data sets
    that have ``glance`` (see ``Dataset``) are spared decoding the pictures.

    Raises:
        UsageError: as ``batches``.
        CellError: a target cannot be read.
    """
    kind = task.target
    if not kind:
        return
    classes = classes_of(dataset, task)
    glance: Callable[[int, str], tuple[Sequence[int], Tensor]] | None = getattr(dataset, "glance", None)
    with progress(f"looking at each {kind}", count) as advance:
        for index in range(count):
            if glance:
                size, target = glance(index, kind)
            else:
                image, targets = dataset[index]
                size, target = image.shape[-2:], targets[kind]
            _check(size, target, kind, classes, dataset.ids[index])
            advance(1)


def foreign(target: Tensor, classes: int) -> int | None:
    """The first value of a label or a mask that is none of the ``classes`` (255 is void in a mask); None where all are."""
    odd = target[(target < 0) | (target >= classes)]
    odd = odd[odd != VOID] if target.dim() > 1 else odd
    return int(odd[0]) if odd.numel() else None


def cut(batch: Batch, protocol: Protocol) -> Iterator[Batch]:
    """A batch as the windows that its pictures are seen in, each with its part of the target (brought to the picture's size, nearest):
    what a head is fitted on."""
    height, width = batch.images.shape[-2:]
    if batch.target.dim() < 3 or not 0 < protocol.window < max(height, width):
        yield batch
        return
    dense = batch.target if batch.target.dim() == 4 else batch.target[:, None]
    dense = torch.nn.functional.interpolate(dense.float(), size=(height, width), mode="nearest").to(batch.target.dtype)
    target = dense if batch.target.dim() == 4 else dense[:, 0]
    for rows, columns in windows.places(height, width, protocol.window, protocol.stride):
        yield Batch(batch.images[..., rows, columns], target[..., rows, columns], batch.ids)


def _check(size: Sequence[int], target: Tensor, kind: str, classes: int, name: str) -> None:
    """A picture's ``size`` (H, W; nothing for a label's) and its target."""
    if target.dim() > 1 and tuple(target.shape[-2:]) != tuple(size):
        shapes = " and ".join("x".join(map(str, shape)) for shape in (size, target.shape[-2:]))
        raise UsageError(f"{name}: picture and {kind} are {shapes}; they must have one size")
    if classes and (value := foreign(target, classes)) is not None:
        raise UsageError(f"{name}: {kind} {value} is none of the {classes} classes; mend the data set")
