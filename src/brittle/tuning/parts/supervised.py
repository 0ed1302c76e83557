"""Tuning by labels: a head on top of the student that is attacked and trained with it, then left behind."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from brittle.tuning.parts.inner import Inner
from brittle.tuning.parts.method import Method
from brittle.types import Batch, Encoder, Features, predict
from brittle.types.rng import Rng

Predict = Callable[[Tensor], Tensor]
"""Images [B,3,H,W] to the head's prediction."""


class Supervised(Method):
    """A loss of predictions.

    Args:
        inner: the attack on student and head; its task is what the head is for.
        head: (Features, (H, W)) -> prediction.
        loss: (prediction of attacked images, of clean ones if it asks, target) -> [B].
        clean: whether it asks.
    """

    def __init__(
        self,
        teacher: Encoder,
        inner: Inner,
        head: nn.Module,
        loss: Callable[[Tensor, Tensor, Tensor], Tensor],
        *,
        clean: bool,
    ) -> None:
        super().__init__(teacher)
        self.inner, self.head, self.loss, self.clean = inner, head, loss, clean

    def forward(self, batch: Batch, rng: Rng, progress: float) -> Tensor:
        attacked = self.inner.on_task(self.student, self.head, batch, rng)
        images = torch.cat([attacked, batch.images]) if self.clean else attacked
        features = Features(*(part.float() for part in self.student(images)))
        predicted = predict(self.head, features, self.student.patch, images.shape[-2:])
        hit, clean = predicted.chunk(2) if self.clean else (predicted, predicted)
        return self.loss(hit, clean, batch.target).mean()


def task_of(*, task: str, **_settings: object) -> str:
    """The task of a supervised method's settings."""
    return task
