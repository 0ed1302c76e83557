"""The attack inside a step of tuning: on the student, away from its teacher or from a label."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from brittle.core import components
from brittle.core.budget import check_eps
from brittle.core.errors import UsageError
from brittle.core.tree import tree
from brittle.tasks.parts.displacement import Displacement
from brittle.types import Batch, Encoder, Features, Model, Task, frozen
from brittle.types.rng import Rng
from brittle.types.threat import Norm, Threat

EMBEDDING = "pgd(objective=embedding(tokens=cls), steps=5, step=0.25, keep=last)"
"""Away from the teacher's pooled feature, by squared distance."""


class Inner:
    """An attack as a step of tuning runs it.

    Args:
        attack: its spec; without a ``task`` one climb of an objective that follows the encoder alone.
        eps: the budget, above 0.
        norm: in which.
        projector: pooled features [B, D] to [B, P]; what it makes of them is then the grid that an objective sees, of
            one cell, and what a head would read are the pooled feature and this, each alike.

    Raises:
        UsageError: an attack that follows what there is not, or a budget that makes no sense.
    """

    def __init__(
        self,
        attack: str,
        eps: float,
        norm: Norm = "linf",
        task: Task | None = None,
        projector: nn.Module | None = None,
    ) -> None:
        self.attack, self.task, self.projector = components.complete("attacks", attack), task, projector
        self.threat = Threat(norm, check_eps(eps, norm))
        if self.threat.eps == 0:
            raise UsageError("eps is 0, under which there is no attack; give a budget such as 8/255")
        whole = tree("attacks", self.attack)
        if task is None and not whole.headless:
            why = "follows a head" if whole.sees == "head" else "asks a head which image is the worst"
            raise UsageError(f"attack={attack} {why}, and this method has none; climb as {EMBEDDING}")

    def __call__(self, student: Encoder, teacher: Encoder, batch: Batch, rng: Rng) -> tuple[Features, Tensor]:
        """The teacher's features of the clean images, and the attacked images, away from those."""
        with torch.no_grad():
            anchor = Features(*(part.float() for part in teacher(batch.images)))
        followed = _Followed(student, teacher, anchor, self.projector)
        model = Model(Displacement(), None, followed, reads=("pooled", "grid") if self.projector else None)
        return anchor, self._run(model, student, batch, rng)

    def on_task(self, student: Encoder, head: Callable[..., Tensor], batch: Batch, rng: Rng) -> Tensor:
        """The attacked images, where a head predicts the batch's targets."""
        assert self.task is not None
        return self._run(Model(self.task, head, student), student, batch, rng)

    def _run(self, model: Model, student: Encoder, batch: Batch, rng: Rng) -> Tensor:
        with frozen(student):
            return components.build("attacks", self.attack, model, batch, self.threat, rng).detach()


class _Followed(Encoder):
    """The teacher to an objective that notes what it leads away from, which is its first look; then the student."""

    def __init__(self, student: Encoder, teacher: Encoder, anchor: Features, projector: nn.Module | None) -> None:
        mean, std = (part.flatten().tolist() for part in (student.mean, student.std))
        super().__init__(student.dim, student.patch, size=student.size, mean=mean, std=std, about=student.about)
        self._both, self._anchor, self._projector = (student, teacher), anchor, projector
        self._noted = False

    def _now(self) -> tuple[bool, Encoder]:
        first, self._noted = not self._noted, True
        return first, self._both[first]

    @property
    def depth(self) -> int:
        return self._both[0].depth

    def forward(self, images: Tensor) -> Features:
        first, encoder = self._now()
        seen = self._anchor if first else encoder(images)
        if self._projector is None:
            return seen
        return seen._replace(grid=self._projector(seen.pooled)[:, :, None, None])

    def at_layers(self, images: Tensor, indices: Sequence[int], *, norm: bool = False) -> list[Features]:
        return self._now()[1].at_layers(images, indices, norm=norm)

    def attention_at(self, images: Tensor, index: int) -> Tensor:
        return self._now()[1].attention_at(images, index)
