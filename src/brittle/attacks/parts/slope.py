"""The gradient of an attack's objective at the pixels, or in one line why there is none to follow."""

import torch
from torch import Tensor

from brittle.core.errors import CellError


def slope(value: Tensor, at: Tensor, when: str) -> Tensor:
    """The gradient of the sum of ``value`` [B] at ``at``, shaped as that.

    Args:
        when: at what point of the attack, such as ``after 50% of the steps``, for messages.

    Raises:
        CellError: none reaches the pixels, or it is not finite.
    """
    gradient = torch.autograd.grad(value.sum(), at, allow_unused=True)[0] if value.requires_grad else None
    if gradient is None:
        raise CellError(
            "none reaches the pixels; there is a detach, no_grad or inference_mode inside the model, take it out",
            check="gradient",
        )
    if not gradient.isfinite().all():
        raise CellError(f"the gradient is nan or inf {when}; check the model", check="nonfinite")
    return gradient


def finite(value: Tensor, when: str, prediction: Tensor | None = None) -> Tensor:
    """``value`` [B], of which each is a number.

    Args:
        prediction: what it was made of, where that is known: the message then says which of the two is to be looked at.

    Raises:
        CellError: one is nan or inf.
    """
    if value.isfinite().all():
        return value
    wrong = value[~value.isfinite()][0].item()
    sound = prediction is not None and bool(prediction.isfinite().all())
    what = "all predictions are numbers, so look at the objective or the task's loss" if sound else "check the model"
    raise CellError(f"the loss is {wrong} {when}; {what}", check="nonfinite")
