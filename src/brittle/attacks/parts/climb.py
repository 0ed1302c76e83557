"""The record of iterates that every attack keeps: an objective climbed for a batch, the iterate of each image to keep,
and which images have nothing left to do."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from brittle.attacks.parts.slope import Numbers, pauses
from brittle.core.errors import UsageError
from brittle.types.attack import Aimed, Objective, arrived
from brittle.types.attack_log import SILENCE
from brittle.types.data import Batch
from brittle.types.model import Model
from brittle.types.task import per_image
from brittle.types.threat import Threat

Keep = Literal["best", "score", "last", "fooled"]
Make = Callable[[Model, Batch], Objective]
"""What builds an objective for a batch; for a part of a batch it builds what gives those images the same."""


class Climb:
    """One objective climbed for one batch: its value and gradient at any images, and the iterate of each image to
    keep.

    Where the model's ``settles`` is set an image leaves as soon as no further step makes it count for more, see
    ``left``; what has left stands in ``found`` and is not in ``batch`` any more.

    Args:
        make: what builds the objective.
        threat: what the images are kept within.
        keep: which iterate is found: by ``best`` one that fully succeeds, then the one of highest task loss (a
            scheduled objective's own values are not comparable between steps; they are used where the head is not
            run), or of most damage where a loss is no number; by ``score`` the one of the worst score (lowest pixel
            accuracy, highest RMSE), then of highest task loss; by ``last`` the last one; by ``fooled`` the last one
            that fully succeeds, the clean image where none does. Where the objective has an ``aim`` (class of each
            image or pixel, -1 where none), what has arrived there is the success and the objective takes the task
            loss's place.
    """

    def __init__(self, make: Make, model: Model, batch: Batch, threat: Threat, keep: Keep) -> None:
        self.make, self.model, self.batch, self.threat = make, model, batch, threat
        self.keep: Keep = keep
        self.objective = make(model, batch)
        self.rows = torch.arange(len(batch.images), device=batch.images.device)
        self._best = batch.images.detach().clone()
        self._rank = self._best.new_full((3, len(self._best)), -torch.inf, dtype=torch.float64)
        self._left, self._gone = self._best, False  # of those that have left what was found; whether some have
        classes = "classes" in model.task.abilities
        self._settles = model.settles and classes and keep != "last" and model.log.watch is None
        self._flat = torch.zeros_like(self.rows, dtype=torch.bool)  # whether the last gradient was zero everywhere
        self._prediction: Tensor | None = None
        self._numbers = Numbers()
        model.log.aims(self._aim)

    @property
    def clean(self) -> Tensor:
        """The clean images of those that have not left, [b,3,H,W]."""
        return self.batch.images.detach()

    @property
    def found(self) -> Tensor:
        """The iterate of each image of the whole batch to keep, [B,3,H,W].

        Raises:
            CellError: a loss or a gradient on the way was not finite.
        """
        self.look()
        return self._left.index_copy(0, self.rows, self._best)

    def look(self) -> None:
        """Wait for what the climb has noted so far.

        Raises:
            CellError: a loss or a gradient was not finite.
        """
        self._numbers.look()

    def begin(self) -> None:
        """Tell the log that a climb begins."""
        self.model.log.begin()

    def beside(self) -> "Climb":
        """A climb of the same objective for those that have not left, of which none leaves, with a record of its
        own."""
        with self.model.using(log=SILENCE):
            climb = Climb(lambda _model, _batch: self.objective, self.model, self.batch, self.threat, self.keep)
        climb.rows, climb._gone, climb._settles = self.rows, self._gone, False
        return climb

    def at(self, images: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        """The objective [b] and its gradient [b,3,H,W] at ``images``, which are considered for keeping; that both are
        finite is looked at by ``left`` and ``found``.

        Raises:
            CellError: the model passes no gradient on.
            UsageError: the objective is not one number for each image.
        """
        images = images.detach().requires_grad_()
        with torch.enable_grad():  # also where the caller has switched it off
            loss = self._ask(images, progress)
            gradient = self._numbers.slope(loss, images, _when(progress))
        if self._settles:
            self._flat = gradient.flatten(1).abs().amax(1) == 0
        self._note(images.detach(), loss.detach(), gradient)
        return loss.detach(), gradient

    @torch.no_grad()
    def last(self, images: Tensor, progress: float) -> Tensor:
        """The objective [b] at a last iterate, which is considered for keeping; no gradient."""
        loss = self._ask(images, progress)
        self._note(images, loss, None)
        return loss

    def left(self, number: int) -> Tensor | None:
        """After ``number`` steps the places of those that go on [c], among those that went on before [b]; None where
        all do. Asked at every step, it lets images leave at a few of them.

        An image leaves where its label is not right any more, or all that an objective aims at has arrived: in float32,
        whatever the attack runs in, and as an 8-bit file too. Else it is taken on. A mask of which no pixel is right
        leaves only where its gradient is zero everywhere, since what the pixels are taken for counts in mIoU.

        Raises:
            CellError: a loss or a gradient was not finite.
        """
        if not pauses(number):
            return None
        self.look()
        settled = self._settled() if self._settles else None
        if settled is None or not settled.any():
            return None
        on = (~settled).nonzero().flatten()
        self._left, self._gone, self.rows = self.found, True, self.rows[on]
        self.batch, self._best, self._rank = self.batch.rows(on.tolist()), self._best[on], self._rank[:, on]
        self._flat = self._flat[on]
        if len(on):
            self.objective = self.make(self.model, self.batch)
        return on

    @torch.no_grad()
    def _settled(self) -> Tensor | None:
        """[b], which images have nothing left to do; None where none has."""
        aim, target = self._aim, self.batch.target
        full = 1 if aim is None else _count(aim)
        over = self._rank[0] >= full  # as far as the attack knows
        rows = (over if "per_image" in self.model.task.abilities else over & self._flat).nonzero().flatten()
        if not len(rows):
            return None
        best, aim, target = self._best[rows], None if aim is None else aim[rows], target[rows]
        kept = [self.threat.to_8bit(self.clean[rows], best), *([best] if self.model.bf16 else [])]
        with self.model.using(bf16=False, log=SILENCE):
            done = torch.stack([self._done(self.model(images), target, aim) for images in kept]).all(0)
        return torch.zeros_like(self.rows, dtype=torch.bool).index_copy(0, rows, done)

    def _done(self, prediction: Tensor, target: Tensor, aim: Tensor | None) -> Tensor:
        """[n], where nothing is right any more, or all that is aimed at has arrived."""
        if aim is not None:
            return arrived(prediction, aim) == _count(aim)
        right = self.model.task.right(prediction, target)
        return torch.zeros(len(target), dtype=torch.bool, device=target.device) if right is None else ~_any(right)

    @property
    def _aim(self) -> Tensor | None:
        return self.objective.aim if isinstance(self.objective, Aimed) else None

    def _ask(self, images: Tensor, progress: float) -> Tensor:
        def keep_output(_module: object, _inputs: object, output: Tensor) -> None:
            self._prediction = output.detach()

        self._prediction = None
        handle = self.model.register_forward_hook(keep_output)  # a step is judged without a second forward
        try:
            loss = self.objective(images, progress)
            if self.keep == "score" and self._prediction is None:
                with torch.no_grad():
                    self.model(images)
        finally:
            handle.remove()
        return self._numbers.loss(each(loss, len(images)), _when(progress), self._prediction)

    def _note(self, images: Tensor, loss: Tensor, gradient: Tensor | None) -> None:
        worth, aim, log = loss, self._aim, self.model.log
        if self._prediction is not None and aim is None and (self.keep != "last" or log is not SILENCE):
            worth = per_image(self.model.task.loss(self._prediction, self.batch.target))
        log.note(images, worth, gradient, self.rows if self._gone else None)
        if self.keep == "last":
            self._best = images
            return
        success, damage = self._success()
        if self.keep == "fooled":
            self._best = torch.where(success.view(-1, 1, 1, 1) > 0, images, self._best)
            self._rank[0] = torch.where(success > 0, success, self._rank[0])
            return
        ranks = torch.stack([success, worth.double(), damage])
        if self._prediction is not None:  # nothing to attack, such as a mask all void: the clean image is kept
            ranks = torch.where(ranks[1] == 0, -torch.inf, ranks)
        higher = ranks > self._rank
        numbers = ranks[1].isfinite() & (self._rank[1] < torch.inf)  # else one of the two losses is none to go by
        further = torch.where(numbers, higher[1], higher[2])
        better = higher[0] | ((ranks[0] == self._rank[0]) & further)
        self._best = torch.where(better.view(-1, 1, 1, 1), images, self._best)
        self._rank = torch.where(better, ranks, self._rank)

    def _success(self) -> tuple[Tensor, Tensor]:
        """How far each image has succeeded [b], and, where predictions are not right or wrong, its damage, which
        stands in for a loss that is no number."""
        task, target, zero = self.model.task, self.batch.target, torch.zeros_like(self._rank[0])
        none = zero - torch.inf
        if self._prediction is None:
            return zero, none
        if self._aim is not None:
            return arrived(self._prediction, self._aim).double(), none
        if self.keep == "score":
            return task.damage(task.score(self._prediction, target)).double(), none
        right = task.right(self._prediction, target)
        if right is None and self.keep == "fooled":
            raise UsageError(f"keep=fooled: a prediction of {task.name} is never right or wrong; take keep=score")
        if right is None:
            return zero, task.damage(task.score(self._prediction, target)).double()
        return (~_any(right)).double(), none


def each(value: Tensor, count: int) -> Tensor:
    """What an objective gave for ``count`` images; UsageError where that is not one number for each."""
    shape = getattr(value, "shape", type(value).__name__)
    if shape != (count,):
        what = list(shape) if isinstance(shape, tuple) else f"a {shape}"
        raise UsageError(f"the objective gives {what} for {count} images; it must give one number for each, [{count}]")
    return value


def _any(right: Tensor) -> Tensor:
    """[B], where anything is right."""
    return right.reshape(len(right), -1).any(1)


def _count(aim: Tensor) -> Tensor:
    """[B], how much is aimed at."""
    return (aim >= 0).reshape(len(aim), -1).sum(1)


def _when(progress: float) -> str:
    return f"after {progress:.0%} of the steps"
