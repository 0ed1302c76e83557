"""What a tuning method minimises: a loss of a student that starts as its teacher, attacked at each step."""

import copy
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from brittle.tuning.parts.inner import Inner
from brittle.tuning.parts.source import Source
from brittle.types import Batch, Encoder, Features
from brittle.types.rng import Rng


class Method(nn.Module):
    """A loss, whose weights are those of its ``student`` and any of its own, such as a head's.

    Args:
        teacher: the encoder that is tuned, of which the student begins as a copy; it is not changed.
    """

    def __init__(self, teacher: Encoder) -> None:
        super().__init__()
        kept = copy.deepcopy(teacher).eval().requires_grad_(False)
        self._teacher = (kept,)  # in a tuple it is no submodule, so it is neither trained nor saved
        self.student = copy.deepcopy(teacher)
        self.student.projector = None  # which belongs to the encoder before it was tuned

    @property
    def teacher(self) -> Encoder:
        """The frozen teacher, where the student is."""
        return self._teacher[0].to(next(self.student.parameters()).device)

    def forward(self, batch: Batch, rng: Rng, progress: float) -> Tensor:
        """The mean loss of a batch.

        Args:
            rng: of its images, for this step.
            progress: share of all steps that are done.
        """
        raise NotImplementedError


class Seen(NamedTuple):
    """What there is to compare: ``anchor``, the teacher's features of clean images, and the student's of clean and of
    attacked ones. Not asked for, ``clean`` is that of the attacked ones."""

    anchor: Features
    clean: Features
    attacked: Features


class Distillation(Method):
    """A loss of features alone, without labels.

    Args:
        inner: the attack on the student.
        loss: [B] of what is seen.
        clean: whether the loss looks at the student's features of clean images.
        own: what the loss has beside the student, trained with it unless it is frozen.
    """

    def __init__(
        self,
        teacher: Encoder,
        inner: Inner,
        loss: Callable[[Seen], Tensor],
        *,
        clean: bool,
        own: nn.Module | None = None,
    ) -> None:
        super().__init__(teacher)
        self.inner, self.loss, self.clean, self.own = inner, loss, clean, own

    def forward(self, batch: Batch, rng: Rng, progress: float) -> Tensor:
        anchor, attacked = self.inner(self.student, self.teacher, batch, rng)
        return self.loss(self.seen(anchor, batch.images, attacked)).mean()

    def seen(self, anchor: Features, clean: Tensor, attacked: Tensor) -> Seen:
        """What the student makes of clean and attacked images, in one pass."""
        if not self.clean:
            moved = Features(*(part.float() for part in self.student(attacked)))
            return Seen(anchor, moved, moved)
        both = [part.float() for part in self.student(torch.cat([clean, attacked]))]
        halves = [part.chunk(2) for part in both]
        return Seen(anchor, *(Features(*(half[i] for half in halves)) for i in range(2)))


COVARIANCE = 512  # images of which it is taken


@torch.no_grad()
def known(encoder: Encoder, source: Source, distance: str) -> Iterator[Features]:
    """The teacher's features of the first images, where a distance needs their covariance."""
    if distance == "mahalanobis":
        for batch in source.some(COVARIANCE):
            yield encoder(batch.images)
