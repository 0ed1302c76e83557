"""Kinds of target: what a task is told about an image, how it is stored, read, checked and handed over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brittle.core.errors import UsageError
from brittle.types import image_files


@dataclass(frozen=True)
class Target:
    """A kind of target.

    Args:
        name: as data sets call it, such as ``mask``.
        plural: as messages call it.
        shape: of a batch, such as ``[B,1,H,W]``; a letter stands for any size.
        dtype: of its values.
        prediction: what a model predicts for it, with its shape last, such as ``logits [B,C]``.
        values: what they mean, in words.
        remedy: how its shape is made of others.
        void: the value of what is not scored; None where everything is.
        mark: by the number of classes, the number that a file or a user writes for void, where that is another.
        classes: whether its values are classes, which a data set names.
        read: a file to the target of one image; None where no file holds it.
        check: what is wrong with a target of one image, in words; empty where nothing is.
    """

    name: str
    plural: str
    shape: str
    dtype: torch.dtype
    prediction: str
    values: str
    remedy: str
    void: int | None = None
    mark: Callable[[int], int] | None = None
    classes: bool = False
    read: Callable[[Path], Tensor] | None = None
    check: Callable[[Tensor], str] = lambda _target: ""

    @property
    def dense(self) -> bool:
        """Whether it has a value for each pixel."""
        return self.shape.count(",") > 1

    def scored(self, target: Tensor, classes: int) -> Tensor:
        """A target as it is written, with ``void`` for the number that stands for it among ``classes`` classes."""
        if self.mark is None or self.void is None:
            return target
        return target.masked_fill(target == self.mark(classes), self.void)

    def foreign(self, target: Tensor, classes: int) -> int | None:
        """The first value that is none of ``classes`` classes, nor void; None where all are."""
        odd = target[(target < 0) | (target >= classes)]
        odd = odd if self.void is None else odd[odd != self.void]
        return int(odd[0]) if odd.numel() else None

    def inspect(self, target: Tensor, size: Sequence[int], classes: int, name: str) -> None:
        """Refuse the target of one image.

        Args:
            size: (H, W) of the image; nothing where the target has no pixels.
            classes: how many the data set has; 0 where the values are no classes.
            name: the image's id.

        Raises:
            UsageError: it is of another size than its image, of a class that does not exist, or what ``check`` says.
        """
        if target.dim() > 1 and tuple(target.shape[-2:]) != tuple(size):
            shapes = " and ".join("x".join(map(str, shape)) for shape in (size, target.shape[-2:]))
            raise UsageError(
                f"{name}: image and {self.name} are {shapes}; save them at one size (EXIF rotation counts)"
            )
        if classes and (value := self.foreign(target, classes)) is not None:
            known = f"{classes} classes (0 to {classes - 1})"
            raise UsageError(f"{name}: {self.name} {value} is none of the {known}; correct it there")
        if why := self.check(target):
            raise UsageError(f"{name}: {self.name}: {why}")

    def prepared(self, target: Tensor, size: Sequence[int], classes: int, name: str) -> Tensor:
        """The target of one image as it is written, inspected, in this kind's dtype and with its void.

        Raises:
            UsageError: see ``inspect``; or whole numbers where there should be none, or the other way round.
        """
        if target.is_floating_point() != self.dtype.is_floating_point:
            raise UsageError(f"{name}: {self.name} is {target.dtype}; it must be {self.values}")
        target = self.scored(target.to(self.dtype), classes)
        self.inspect(target, size, classes, name)
        return target

    def taken(self, given: Any, images: Tensor) -> Tensor:
        """A batch's target as a user gave it, in this kind's dtype and where the ``images`` are.

        Raises:
            UsageError: of another shape, length or type.
        """
        target = as_tensor(self.plural, given)
        if not has_shape(target, self.shape):
            raise UsageError(f"{self.plural} are {list(target.shape)}; they must be {self.shape}: {self.remedy}")
        if len(target) != len(images):
            raise UsageError(f"{len(target)} targets for {len(images)} images; give one for each")
        if target.is_complex() or target.is_floating_point() != self.dtype.is_floating_point:
            raise UsageError(f"{self.plural} are {target.dtype}; they must be {self.values}")
        return target.to(images.device, self.dtype)


def as_tensor(name: str, given: Any) -> Tensor:
    """What ``torch.as_tensor`` makes of something; UsageError where it makes nothing."""
    try:
        return given if isinstance(given, Tensor) else torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        what = f"{name} are a {type(given).__name__} that makes no tensor"
        raise UsageError(f"{what}; give one tensor (torch.stack makes it of many)") from None


def has_shape(tensor: Tensor, shape: str) -> bool:
    """Whether a tensor has a shape such as ``[B,1,H,W]``; a letter stands for any size."""
    sizes = shape.strip("[]").split(",")
    return tensor.dim() == len(sizes) and all(str(n) == size for n, size in zip(tensor.shape, sizes) if size.isdigit())


VOID = -(2**15)
"""What a mask has where it is not scored: the number of no class, however many there are, and none that files hold."""


def void_mark(classes: int) -> int:
    """The number that stands for void where masks are written: 255, or 65535 where 255 is a class."""
    return 255 if classes <= 255 else 65535


LABEL = Target(
    "label",
    "labels",
    "[B]",
    torch.long,
    "logits [B,C]",
    "whole numbers, a class each",
    "squeeze(1) of [B,1], argmax(1) of one-hot rows",
    classes=True,
)
MASK = Target(
    "mask",
    "masks",
    "[B,H,W]",
    torch.long,
    "logits [B,C,H,W]",
    "whole numbers, a class each",
    "squeeze(1) of [B,1,H,W]",
    void=VOID,
    mark=void_mark,
    classes=True,
    read=image_files.read_mask,
)
DEPTH = Target(
    "depth",
    "depth maps",
    "[B,1,H,W]",
    torch.float32,
    "metres [B,1,H,W]",
    "metres in floating point (whole numbers are often millimetres)",
    "unsqueeze(1) of [B,H,W]",
    void=0,
    read=image_files.read_depth,
)
STANDARD = {target.name: target for target in (LABEL, MASK, DEPTH)}
"""The kinds that the data sets of the package have."""
