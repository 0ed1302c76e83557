"""What an attack saw on its way, image by image, and what it hands over: the evidence that checks read and curves are
drawn from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

Parts = Callable[[str, Sequence[str], Callable[[], Tensor]], Tensor]
"""(name of a part of an attack, ids of the images, what makes them) to those images, made or remembered."""
SUMMARY = ("loss_first", "loss_late", "loss_last", "loss_best", "flat")
CURVE = "curve_"
MOVED = "moved_feature"  # how far the pooled feature is from the clean one, beside a task's own statistics


class AttackLog:
    """Filled by an attack as it climbs, one ``note`` an iterate.

    Args:
        watch: called with the iterate [B,3,H,W] of each step, where more of it is wanted than its loss.
        parts: what remembers the parts of a long attack.
        collect: whether the images of each member of an ensemble are wanted as ``candidates``.

    ``losses``: a [B] tensor an iterate: the task's loss, or the objective's value where no head was asked. ``flat``: a
    [B] tensor a step: 1 where an image's gradient was zero everywhere, nan where it was not taken. What is noted stays
    on its device until it is asked for. ``aim``: [B] or [B,H,W], the classes that the
    last objective climbed towards, if it had any.
    """

    def __init__(
        self, watch: Callable[[Tensor], None] | None = None, parts: Parts | None = None, collect: bool = False
    ) -> None:
        self.watch, self.parts, self.collect = watch, parts, collect
        self.losses: list[Tensor] = []
        self.flat: list[Tensor] = []
        self.candidates: list[Tensor] = []
        self.aim: Tensor | None = None
        self._within: list[str] = []
        self._began = 0

    def begin(self) -> None:
        """A climb begins, of which there may be several, one after the other."""
        self._began = len(self.losses)

    def aims(self, aim: Tensor | None) -> None:
        """What the objective that is climbed from now on aims at: [B] or [B,H,W] classes, or None."""
        self.aim = aim

    def candidate(self, images: Tensor) -> None:
        """What one member of an ensemble made of the batch, [B,3,H,W]."""
        if self.collect:
            self.candidates.append(images)

    def note(self, images: Tensor, loss: Tensor, gradient: Tensor | None = None, rows: Tensor | None = None) -> None:
        """An iterate, its loss [B], and the gradient there [B,3,H,W] where one was taken.

        Args:
            rows: whose they are, [b] places in the batch, where some images have left: what was noted last of those
                goes on.
        """
        loss = loss.detach().float()
        self.losses.append(loss if rows is None else self.losses[-1].index_copy(0, rows, loss))
        if gradient is not None:
            flat = (gradient.flatten(1).abs().amax(1) == 0).float()
            none = torch.full_like(self.losses[-1], torch.nan)
            self.flat.append(flat if rows is None else none.index_copy(0, rows, flat))
        if self.watch is not None:
            self.watch(images.detach())

    def part(self, name: str, ids: Sequence[str], make: Callable[[], Tensor]) -> Tensor:
        """What ``make`` gives, or, where parts are remembered, gave before the run was interrupted; what was noted then
        is noted again. ``name`` tells it from the other parts of the same attack."""
        if self.parts is None:
            return make()
        self._within.append(name)
        try:
            return self.parts("/".join(self._within), ids, make)
        finally:
            self._within.pop()

    def notes(self) -> dict[str, Tensor]:
        """All that was noted, [B, ...] each, for ``recall``; nothing where nothing was."""
        notes: dict[str, Tensor] = {}
        if self.losses:
            notes = {"losses": torch.stack(self.losses, 1), "began": torch.full_like(self.losses[0], self._began)}
        return notes | ({"flat": torch.stack(self.flat, 1)} if self.flat else {})

    def recall(self, notes: Mapping[str, Tensor]) -> None:
        """Take up what was noted before."""
        if "losses" in notes:
            self.losses, self._began = list(notes["losses"].unbind(1)), int(notes["began"][0])
        self.flat = list(notes["flat"].unbind(1)) if "flat" in notes else []

    @property
    def length(self) -> tuple[int, int]:
        """How many losses were noted, and how many gradients."""
        return len(self.losses), len(self.flat)

    def spread(self, rows: Tensor, count: int, since: tuple[int, int] = (0, 0)) -> None:
        """Make what was noted of some of ``count`` images ([b] indices) a note of them all, nan for the others.

        Args:
            since: the log's ``length`` before.
        """

        def whole(values: Tensor) -> Tensor:
            nothing = torch.full((count,), torch.nan, device=values.device)
            return nothing.index_copy(0, rows.to(values.device), values.float())

        self.losses[since[0] :] = map(whole, self.losses[since[0] :])
        self.flat[since[1] :] = map(whole, self.flat[since[1] :])

    def summary(self, count: int) -> dict[str, Tensor]:
        """[B] each: ``loss_first`` and ``loss_best`` of all, ``loss_late`` (after three quarters of its iterates) and
        ``loss_last`` of the last climb, and ``flat``, the share of steps whose gradient was zero everywhere; nan where
        nothing was noted."""
        summary = {name: torch.full((count,), torch.nan) for name in SUMMARY}
        if self.losses:
            losses = torch.stack(_carried(self.losses))
            summary |= {
                "loss_first": losses[0],
                "loss_late": losses[self._began :][(3 * (len(losses) - self._began - 1)) // 4],
                "loss_last": losses[-1],
                "loss_best": losses.amax(0),
            }
        if self.flat:
            summary["flat"] = torch.stack(self.flat).float().nanmean(0)
        return {name: values.cpu() for name, values in summary.items()}

    def attacked(self, images: Tensor) -> "Attacked":
        """What the attack that wrote this log hands over with its images [B,3,H,W]."""
        candidates = torch.stack(self.candidates, 1) if self.candidates else None
        return Attacked(images, self.summary(len(images)), self.aim, candidates)


class _Silence(AttackLog):
    """A log that is not kept."""

    def aims(self, aim: Tensor | None) -> None:
        """Nothing is kept."""

    def note(self, images: Tensor, loss: Tensor, gradient: Tensor | None = None, rows: Tensor | None = None) -> None:
        """Nothing is kept."""


SILENCE = _Silence()


def _carried(losses: Sequence[Tensor]) -> list[Tensor]:
    """Losses [B] of iterates, in place of nan what an image had before."""
    carried = [losses[0]]
    for loss in losses[1:]:
        carried.append(torch.where(loss.isnan(), carried[-1], loss))
    return carried


@dataclass(frozen=True)
class Attacked:
    """What an attack makes of a batch.

    Args:
        images: [B,3,H,W].
        notes: [B] each, see ``AttackLog.summary``.
        aim: the class it aimed at, [B] or [B,H,W], -1 where there was nothing to aim at; None without an aim.
        candidates: [B,M,3,H,W], what each member of an ensemble found, where the choice is made later.
        curve: statistics [B,T,...] of each iterate, where they are followed.
    """

    images: Tensor
    notes: Mapping[str, Tensor]
    aim: Tensor | None = None
    candidates: Tensor | None = None
    curve: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])

    @classmethod
    def unlogged(cls, images: Tensor) -> "Attacked":
        """Images that no climb was noted of."""
        return cls(images, SILENCE.summary(len(images)))

    def tensors(self) -> dict[str, Tensor]:
        """As a flat mapping of tensors [B, ...], to be stored."""
        rest = {"aim": self.aim, "candidates": self.candidates}
        curve = {f"{CURVE}{key}": value for key, value in self.curve.items()}
        return {"images": self.images, **self.notes, **{k: v for k, v in rest.items() if v is not None}, **curve}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Attacked":
        """From what ``tensors`` gave."""
        curve = {key.removeprefix(CURVE): value for key, value in tensors.items() if key.startswith(CURVE)}
        own = {key: value for key, value in tensors.items() if not key.startswith(CURVE)}
        images, aim, candidates = own.pop("images"), own.pop("aim", None), own.pop("candidates", None)
        return cls(images, own, aim, candidates, curve)
