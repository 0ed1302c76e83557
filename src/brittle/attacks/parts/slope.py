"""The gradient of an attack's objective at the pixels, or in one line why there is none to follow."""

from typing import NamedTuple

import torch
from torch import Tensor

from brittle.core.errors import CellError

PAUSES = (2, 3)  # times a power of two: after so many steps an attack may wait for the device


def pauses(number: int) -> bool:
    """Whether an attack pauses after ``number`` steps: after 1, 2, 3, 4, 6, 8, 12 and so on. There it looks at what it
    has noted on the device, for which no other step waits."""
    return number == 1 or any(number % base == 0 and (number // base).bit_count() == 1 for base in PAUSES)


class _Noted(NamedTuple):
    """Of one loss or gradient, on its device: 0 where all are numbers, else one that is none; and whether the
    prediction that a loss was made of is all numbers."""

    when: str
    wrong: Tensor
    sound: Tensor | None


class Numbers:
    """Whether what an attack computes are numbers: noted on the device as it goes, looked at when it pauses."""

    def __init__(self) -> None:
        self._noted: list[_Noted] = []

    def loss(self, value: Tensor, when: str, prediction: Tensor | None = None) -> Tensor:
        """``value`` [B] as it is, each of which has to be a number.

        Args:
            when: at what point of the attack, such as ``after 50% of the steps``, for messages.
            prediction: what it was made of, where that is known: the message then says which of the two to look at.
        """
        sound = torch.zeros_like(value[:0].sum()) if prediction is None else prediction.isfinite().all()
        self._noted.append(_Noted(when, _wrong(value), sound))
        return value

    def slope(self, value: Tensor, at: Tensor, when: str) -> Tensor:
        """The gradient of the sum of ``value`` [B] at ``at``, shaped as that, which has to be finite.

        Raises:
            CellError: none reaches the pixels.
        """
        gradient = torch.autograd.grad(value.sum(), at, allow_unused=True)[0] if value.requires_grad else None
        if gradient is None:
            raise CellError(
                "none reaches the pixels; there is a detach, no_grad or inference_mode inside the model, take it out",
                check="gradient",
            )
        self._noted.append(_Noted(when, _wrong(gradient), None))
        return gradient

    def look(self) -> None:
        """Wait for what was noted since the last time.

        Raises:
            CellError: some of it is no number.
        """
        noted, self._noted = self._noted, []
        flags = [
            flag.float() for each in noted for flag in (each.wrong, each.wrong if each.sound is None else each.sound)
        ]
        values = torch.stack(flags).tolist() if flags else []
        for each, wrong, sound in zip(noted, values[::2], values[1::2]):
            if wrong == 0:
                continue
            if each.sound is None:
                raise CellError(f"the gradient is nan or inf {each.when}; check the model", check="nonfinite")
            right = "all predictions are numbers, so look at the objective or the task's loss"
            what = right if sound else "check the model"
            raise CellError(f"the loss is {wrong} {each.when}; {what}", check="nonfinite")


@torch.no_grad()
def _wrong(value: Tensor) -> Tensor:
    """0 where all values are numbers, else one that is none, nan where those that are none are of several kinds."""
    return torch.where(value.isfinite(), 0, value).sum()
