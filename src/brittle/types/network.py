"""A whole network for one task: images in [0, 1] to its own prediction, its preprocessing inside."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from brittle.core.errors import UsageError
from brittle.core.traits import Ability, predicted
from brittle.types.encoder import Encoder
from brittle.types.target import has_shape

Unit = Literal["metres", "inverse", "relative"]
"""What a network's depth is: metres; metres up to a scale and a shift; or the inverse of those."""
Align = Literal["lstsq", "median"]
"""How relative depth is brought to metres: scale and shift by least squares, or the scale alone by medians."""
WANTED: Mapping[frozenset[Ability], Sequence[str]] = {
    frozenset({"classes", "per_image"}): ("logits [B,C]",),
    frozenset({"classes", "per_pixel"}): ("logits [B,C,H,W]",),
    frozenset({"metres", "per_pixel"}): ("depth [B,1,H,W]", "depth [B,H,W]"),
}
"""What a network for a task has to give, by the task's abilities."""


@dataclass(frozen=True)
class Frame:
    """How images come to a network.

    Args:
        size: the edge that the network is made for, 0 where any is as good.
        edge: what the shorter edge is brought to before a centre crop of ``size``; 0 for ``size``.
        pixels: how images are resized before the attack.
        inside: whether the network resizes and crops by itself, so that the attack is on the image before that; else
            the image is resized and cropped first, and attacked as the network takes it.
        window: edge of sliding windows over larger images; 0 for the whole image at once.
    """

    size: int = 0
    edge: int = 0
    pixels: Literal["bicubic", "bilinear", "nearest"] = "bilinear"
    inside: bool = False
    window: int = 0


class Logits(NamedTuple):
    """What a network's logits stand for.

    Args:
        classes: each output in words, other names of the same after commas; nothing where that is not known.
        order: the output of each class of a data set as the user says; nothing to go by the names of both.
        first: the output of a data set's first class where the others follow in their order; -1 to go by names.
        temperature: what they are divided by.
    """

    classes: Sequence[str] = ()
    order: Sequence[int] = ()
    first: int = -1
    temperature: float = 1.0


UNSAID = Logits()


class Network(nn.Module):
    """A published network for one task: images [B,3,H,W] in [0,1] to logits [B,C] or [B,C,h,w], or depth [B,1,h,w].

    Args:
        body: the same, with the network's own normalisation inside, and its resizing where the frame says so.
        predicts: the abilities of the task that it is for.
        frame: how images come to it.
        logits: of one for classes.
        encoder: the part of it that attacks on an encoder follow; None where none is known.
        unit, align: of depth.
        about: what a result says of it, as of an ``Encoder``.
    """

    def __init__(
        self,
        body: nn.Module,
        predicts: Collection[Ability],
        frame: Frame,
        *,
        about: Mapping[str, Any],
        logits: Logits = UNSAID,
        encoder: Encoder | None = None,
        unit: Unit = "metres",
        align: Align = "lstsq",
    ) -> None:
        super().__init__()
        self.body, self.predicts, self.frame, self.about = body, frozenset(predicts), frame, dict(about)
        self.classes, self.order, self.first = tuple(logits.classes), tuple(logits.order), logits.first
        self.temperature, self.encoder, self.unit, self.align = logits.temperature, encoder, unit, align
        self.outputs: tuple[int, ...] = ()
        """The output of each class that is scored; nothing for all outputs as they are."""
        self.count = 0
        """How many classes are scored; 0 for as many as there are outputs."""
        self.note = ""
        """What to say of how outputs and classes were matched."""

    @property
    def label(self) -> str:
        """What to call it in an error."""
        return str(self.about.get("source") or type(self).__name__)

    @property
    def size(self) -> int:
        """Edge of the images that it is used at; 0 for any."""
        return self.frame.size

    def forward(self, images: Tensor) -> Tensor:
        """The prediction, in the images' own type.

        Raises:
            UsageError: the network gives something else than a task's prediction, with what to hand over in its place.
        """
        given = self.body(images)
        wanted = WANTED.get(self.predicts, ())
        if not isinstance(given, Tensor):
            what = f"a {type(given).__name__}{_of(given)}"
            raise UsageError(f"{self.label} gives {what}; hand over a function that returns the {' or '.join(wanted)}")
        if not given.is_floating_point():
            why = f"{given.dtype} {list(given.shape)}: classes that are chosen already pass no gradient on"
            raise UsageError(f"{self.label} gives {why}; hand over the {' or '.join(wanted)} before the argmax")
        if len(given) != len(images) or not any(has_shape(given, each.split()[-1]) for each in wanted):
            what = f"{list(given.shape)} for {len(images)} images"
            raise UsageError(f"{self.label} gives {what}; {predicted(self.predicts)} are {' or '.join(wanted)}")
        if "metres" in self.predicts:
            given = given if given.dim() == 4 else given[:, None]
        else:
            given = self._ordered(given) / self.temperature
        return given.to(images.dtype)

    def _ordered(self, logits: Tensor) -> Tensor:
        """The logits of the classes that are scored, in their order."""
        there = logits.shape[1]
        if self.outputs and max(self.outputs) < there:
            return logits[:, list(self.outputs)]
        if not self.outputs and not self.count and self.order:
            return logits[:, list(self.order)]
        if not self.outputs and not self.count and self.first > 0:
            return logits[:, self.first :]
        if self.outputs or (self.count and self.count != there):
            wanted = f"output {max(self.outputs)}" if self.outputs else f"{self.count} classes"
            remedy = "say which output each class is with classes=[...], or which the first one is with first=1"
            raise UsageError(f"{self.label} has {there} outputs, and {wanted} is wanted; {remedy}")
        return logits

    def require_gradient(self, images: Tensor) -> None:
        """Try whether a gradient passes from the prediction to every one of ``images`` [B,3,H,W].

        Raises:
            UsageError: none does, with the first step inside that stops it; or see ``forward``.
        """
        images = images.clone().requires_grad_()
        with torch.enable_grad(), _Watch() as watch:
            prediction = self(images)
        if not prediction.requires_grad:
            step = f" at {watch.stopped}" if watch.stopped else ""
            raise UsageError(f"{self.label}: its gradient ends{step}; hand over what it computes before that step")


class _Watch(TorchFunctionMode):
    """Notes the first step that is given something with a gradient and gives back numbers without one."""

    PASSED = frozenset({"shape", "size", "dim", "is_floating_point", "requires_grad", "dtype", "device"})

    def __init__(self) -> None:
        super().__init__()
        self.stopped = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        if not self.stopped and _graded(args) and _numbers(given) and not _graded((given,)):
            name = str(getattr(func, "__name__", func))
            self.stopped = "" if name in self.PASSED else name
        return given


def _graded(things: Any) -> bool:
    return any(isinstance(each, Tensor) and each.requires_grad for each in _flat(things))


def _numbers(given: Any) -> bool:
    """Whether something is tensors, or numbers that were taken out of one."""
    return any(isinstance(each, Tensor) for each in _flat((given,))) or type(given).__module__ == "numpy"


def _flat(things: Any) -> list[Any]:
    return [part for each in things for part in (each if isinstance(each, (list, tuple)) else [each])]


def _of(given: Any) -> str:
    """What is in a container, in words."""
    parts = list(given) if isinstance(given, (list, tuple, dict)) else []
    words = [str(part) if isinstance(part, str) else type(part).__name__ for part in parts[:5]]
    return f" of {', '.join(words)}" if words else ""
