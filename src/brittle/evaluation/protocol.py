"""How an image becomes what the encoder sees and what a prediction is scored on: size, resize rule, windows, crop,
valid depth; and how a head is fitted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from brittle.core import components
from brittle.core.spec import parse
from brittle.core.traits import DatasetTraits
from brittle.evaluation import probe
from brittle.evaluation.recipe import QUICK, Recipe
from brittle.types import FINAL, Features, Look, Network, windows
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
        edge: what the shorter edge is brought to where that is more than ``size``, so that a crop leaves less; else 0.
        window: edge of sliding windows over images larger than it, 0 for the whole image at once.
        stride: between windows.
        valid: rows and columns of the target that count, at its own resolution (top, bottom, left, right); None for
            all.
        look, reads: which of the encoder's features the head reads, and which parts of them.
        moved: which of those parts EmbedAttack moves; None for all of them.
        recipe: how the head is fitted.
        pixels: how images are resized; all but ``nearest`` with a low-pass filter.
        views: what heads are fitted on besides the training images (``brittle.planning.protocols.VIEWS``).
        background: the class that is left out of the score wherever it is true; None for none.

    Targets keep their own resolution: a prediction is brought to it, never the target to the prediction. The others are
    quirks of the paper's code (``brittle.planning.protocols.QUIRKS``): ``resized_masks``, ``void_as`` (the class that
    void pixels become), ``chosen_on`` (the split that heads are chosen on), ``red`` (what the deviation of red is
    multiplied by) and ``pad`` (the edge whose multiples images are padded to).
    """

    size: int
    resize: Literal["short", "none"] = "short"
    crop: bool = False
    edge: int = 0
    window: int = 0
    stride: int = 0
    valid: tuple[int, int, int, int] | None = None
    look: Look = FINAL
    reads: Sequence[str] = Features._fields
    moved: Sequence[str] | None = None
    recipe: Recipe = field(default=probe.STANDARD)
    pixels: Literal["bicubic", "bilinear", "nearest"] = "bicubic"
    views: Sequence[str] = ()
    background: int | None = None
    resized_masks: bool = False
    void_as: int | None = None
    chosen_on: Literal["val", "test"] = "val"
    red: float = 1.0
    pad: int = 0

    @property
    def changes_encoder(self) -> bool:
        """Whether features are not the encoder's own."""
        return (self.red, self.pad) != (1.0, 0)

    def describe(self) -> str:
        """One line for reports."""
        parts = [f"shorter edge {self.edge or self.size}" if self.resize == "short" else "native resolution"]
        parts += [f"centre crop{f' of {self.size}' if self.edge else ''}"] if self.crop else []
        parts += [f"windows {self.window} / {self.stride}"] if self.window else []
        parts += (
            [f"scored on rows {self.valid[0]}:{self.valid[1]}, columns {self.valid[2]}:{self.valid[3]}"]
            if self.valid
            else []
        )
        parts += [f"the head reads {self.look.describe(self.reads)}"] if self.look != FINAL else []
        parts += [f"heads fitted on {' and '.join(self.views)} too"] if self.views else []
        parts += [f"heads fitted quickly, {QUICK} steps where images are few"] if self.recipe.many == QUICK else []
        parts += [f"pixels of class {self.background} left out of miou"] if self.background is not None else []
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        whole = asdict(self)
        if not self.edge:
            del whole["edge"]  # heads and rates that were kept before there was one
        return whole


def standard(dataset: str, task: Task, size: int) -> Protocol:
    """The correct protocol of a data set x task for an encoder of edge ``size``.

    Classification, and tasks without a target: shorter edge and centre crop. Dense tasks: shorter edge at the encoder's
    size, longer images in windows of that size, a third overlapping. A data set's ``TRAITS`` may say otherwise in
    ``rules``, by the kind of target.

    Args:
        dataset: its spec.
    """
    target = task.target
    dense = target is not None and target.dense
    own: dict[str, Any] = {
        "recipe": probe.STANDARD if dense else probe.STANDARD.sparsely(),
        "look": task.look,
        "reads": tuple(task.reads),
        **rules_of(dataset, target),
    }
    own.pop("background", None)  # which the standard protocol scores as any class
    if not dense:
        return Protocol(size, crop=True, **own)
    if own.pop("whole", False):
        return Protocol(size, **own)
    return Protocol(size, window=size, stride=-(-size * 2 // 3), **own)


def of_network(dataset: str, task: Task, network: Network) -> Protocol:
    """The protocol of a data set x task for a whole network, which resizes and crops by itself where its frame says so:
    images whose shorter edge is the network's own, whole or in windows a third of which overlap; where it does not, of
    classification their centre.

    Args:
        dataset: its spec.
    """
    frame, dense = network.frame, task.target is not None and task.target.dense
    own = rules_of(dataset, task.target)
    if dense:
        resize = own.get("resize", "short") if frame.size else "none"
        stride = -(-frame.window * 2 // 3)
        rule = Protocol(frame.size, window=frame.window, stride=stride, pixels=frame.pixels)
        return replace(rule, resize=resize, valid=own.get("valid"))
    if frame.inside or not frame.size:
        return Protocol(frame.size, resize="none", pixels=frame.pixels)
    return Protocol(frame.size, crop=True, edge=frame.edge, pixels=frame.pixels)


def rules_of(dataset: str, target: Target | None) -> Mapping[str, Any]:
    """What a data set's ``TRAITS`` say of a kind of target."""
    traits = components.component("datasets", parse(dataset).name).traits
    rules = traits.rules if isinstance(traits, DatasetTraits) else {}
    return rules.get(target.name, {}) if target else {}


def resized_to(size: Sequence[int], protocol: Protocol) -> tuple[int, int]:
    """(H, W) that an image of (H, W) ``size`` is resized to."""
    height, width = size
    least = protocol.edge or protocol.size
    if protocol.resize == "none" or min(height, width) == least:
        return height, width
    scale = least / min(height, width)
    return max(least, round(height * scale)), max(least, round(width * scale))


def preprocess(sample: Sample, kind: Target | None, protocol: Protocol) -> tuple[Tensor, Tensor]:
    """Image [3,H,W] float32 in [0,1] and target of a sample, 0 where there is no ``kind`` of target."""
    image, target = as_float(sample.image), sample.target(kind)
    size, new = protocol.size, resized_to(image.shape[1:], protocol)
    if new != tuple(image.shape[1:]):
        filtered = protocol.pixels != "nearest"
        image = torch.nn.functional.interpolate(image[None], size=new, mode=protocol.pixels, antialias=filtered)[0]
        image = image.clamp(0, 1)
    if protocol.crop:
        top, left = (image.shape[1] - size) // 2, (image.shape[2] - size) // 2
        image = image[:, top : top + size, left : left + size]
    if protocol.void_as is not None and kind and kind.classes and kind.void is not None:
        target = target.masked_fill(target == kind.void, protocol.void_as)
    if protocol.resized_masks and kind and kind.classes and target.dim():
        target = at_size(target[None], image.shape[1:])[0]
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
