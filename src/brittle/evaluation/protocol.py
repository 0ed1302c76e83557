"""How an image becomes what the encoder sees and what a prediction is scored on: size, resize rule, windows, crop,
valid depth."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from brittle.core import components
from brittle.core.spec import parse
from brittle.core.traits import DatasetTraits
from brittle.types import windows
from brittle.types.data import Batch, Sample, as_float
from brittle.types.target import Target
from brittle.types.task import Task


@dataclass(frozen=True)
class Protocol:
    """How one task is evaluated on one data set with one encoder.

    Args:
        size: the encoder's edge in pixels.
        resize: ``short``: the shorter edge is brought to ``size`` (bicubic, antialiased), the shape kept; ``none``:
            native resolution.
        crop: take the centre ``size`` x ``size`` after resizing (classification).
        window: edge of sliding windows over images larger than it, 0 for the whole image at once.
        stride: between windows.
        valid: rows and columns of the target that count, at its own resolution (top, bottom, left, right); None for
            all.

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
        parts += (
            [f"scored on rows {self.valid[0]}:{self.valid[1]}, columns {self.valid[2]}:{self.valid[3]}"]
            if self.valid
            else []
        )
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def standard(dataset: str, task: Task, size: int) -> Protocol:
    """The correct protocol of a data set x task for an encoder of edge ``size``.

    Classification, and tasks without a target: shorter edge and centre crop. Dense tasks: shorter edge at the encoder's
    size, longer images in windows of that size, a third overlapping. A data set's ``TRAITS`` may say otherwise in
    ``rules``, by the kind of target.

    Args:
        dataset: its spec.
    """
    traits = components.component("datasets", parse(dataset).name).traits
    target = task.target
    rules = traits.rules if isinstance(traits, DatasetTraits) else {}
    own = dict(rules.get(target.name, {})) if target else {}
    if target is None or not target.dense:
        return Protocol(size, crop=True, **own)
    if own.pop("whole", False):
        return Protocol(size, **own)
    return Protocol(size, window=size, stride=-(-size * 2 // 3), **own)


def preprocess(sample: Sample, kind: Target | None, protocol: Protocol) -> tuple[Tensor, Tensor]:
    """Image [3,H,W] float32 in [0,1] and target of a sample, 0 where there is no ``kind`` of target."""
    image, target = as_float(sample.image), sample.target(kind)
    size = protocol.size
    height, width = image.shape[1:]
    if protocol.resize == "short" and min(height, width) != size:
        scale = size / min(height, width)
        new = (max(size, round(height * scale)), max(size, round(width * scale)))
        image = torch.nn.functional.interpolate(image[None], size=new, mode="bicubic", antialias=True)[0].clamp(0, 1)
    if protocol.crop:
        top, left = (image.shape[1] - size) // 2, (image.shape[2] - size) // 2
        image = image[:, top : top + size, left : left + size]
    if protocol.valid and kind and kind.void is not None and target.dim():
        top, bottom, left, right = protocol.valid
        kept = torch.zeros(target.shape[-2:], dtype=torch.bool)
        kept[top:bottom, left:right] = True
        target = torch.where(kept, target, torch.tensor(kind.void).to(target.dtype))
    return image, target


def at_size(target: Tensor, size: Sequence[int]) -> Tensor:
    """A batch's target [B,...,h,w] brought to ``size`` (H, W), nearest."""
    flat = target.reshape(len(target), -1, *target.shape[-2:]).float()
    moved = torch.nn.functional.interpolate(flat, size=tuple(size), mode="nearest").to(target.dtype)
    return moved.reshape(*target.shape[:-2], *size)


def windows_of(batch: Batch, protocol: Protocol) -> Iterator[Batch]:
    """A batch as the windows that its images are seen in, each with its part of the target (brought to the image's
    size, nearest): what a head is fitted on."""
    height, width = batch.images.shape[-2:]
    if batch.target.dim() < 3 or not 0 < protocol.window < max(height, width):
        yield batch
        return
    target = at_size(batch.target, (height, width))
    for rows, columns in windows.places(height, width, protocol.window, protocol.stride):
        yield Batch(batch.images[..., rows, columns], target[..., rows, columns], batch.ids)
