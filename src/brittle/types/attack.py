"""What an attack and an objective are."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor

from brittle.types.data import Batch
from brittle.types.model import Model
from brittle.types.rng import Rng
from brittle.types.task import resized
from brittle.types.threat import Threat

Objective = Callable[[Tensor, float], Tensor]
"""``(images [B,3,H,W], progress in [0,1)) -> [B]``, differentiable; the attacker wants it high. Called twice it gives
the same."""


@runtime_checkable
class Aimed(Protocol):
    """An objective that climbs towards ``aim``, the class of each image [B] or pixel [B,H,W], -1 where there is
    none."""

    aim: Tensor

    def __call__(self, images: Tensor, progress: float, /) -> Tensor: ...


class Attack(Protocol):
    """Adversarial images [B,3,H,W] for a batch, inside the threat; keyword-only settings come from the plan."""

    def __call__(self, model: Model, batch: Batch, threat: Threat, rng: Rng, /) -> Tensor: ...


def arrived(prediction: Tensor, aim: Tensor) -> Tensor:
    """[B] how many pixels (or whether the image) are predicted as the class in ``aim``."""
    prediction = resized(prediction, aim.shape[1:]) if aim.dim() > 1 else prediction
    return (prediction.argmax(1) == aim).reshape(len(aim), -1).sum(1)
