"""What an attack saw on its way, image by image: the evidence that checks read and curves are drawn from."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Parts = Callable[[str, Sequence[str], Callable[[], Tensor]], Tensor]
"""(name of a part of an attack, ids of the pictures, what makes their images) to those images, made or remembered."""


class Trace:
    """Filled by the loop that climbs, one ``note`` an iterate.

    Args:
        watch: called with the iterate [B,3,H,W] of each step, for whoever wants more of it than its loss.

    ``parts``: what remembers the parts of a long attack, where somebody does.

    ``losses``: a [B] tensor an iterate: the task's loss, or the objective's value where no head was asked. ``flat``: a [B] tensor a step:
    whether an image's gradient was zero everywhere. ``candidates``: the images that each member of an ensemble found,
    where somebody put a list there. ``aim``: [B] or [B,H,W], the classes that the last objective climbed towards, if it had any.
    """

    def __init__(self, watch: Callable[[Tensor], None] | None = None) -> None:
        self.watch = watch
        self.losses: list[Tensor] = []
        self.flat: list[Tensor] = []
        self.candidates: list[Tensor] | None = None
        self.aim: Tensor | None = None
        self.parts: Parts | None = None
        self._within: list[str] = []
        self._began = 0

    def begin(self) -> None:
        """A climb begins, of which there may be several, one after the other."""
        self._began = len(self.losses)

    def note(self, images: Tensor, loss: Tensor, gradient: Tensor | None = None) -> None:
        """An iterate, its loss [B], and the gradient there [B,3,H,W] where one was taken."""
        self.losses.append(loss.detach().float().cpu())
        if gradient is not None:
            self.flat.append((gradient.flatten(1).abs().amax(1) == 0).cpu())
        if self.watch is not None:
            self.watch(images.detach())

    def part(self, name: str, ids: Sequence[str], make: Callable[[], Tensor]) -> Tensor:
        """What ``make`` gives, or, where parts are remembered, gave before the run was interrupted; what was noted then is noted again.
        ``name`` tells it from the other parts of the same attack."""
        if self.parts is None:
            return make()
        self._within.append(name)
        try:
            return self.parts("/".join(self._within), ids, make)
        finally:
            self._within.pop()

    def notes(self) -> dict[str, Tensor]:
        """All that was noted, [B, ...] each, for ``recall``; nothing where nothing was."""
        kept = {"losses": torch.stack(self.losses, 1), "began": torch.full_like(self.losses[0], self._began)} if self.losses else {}
        return kept | ({"flat": torch.stack(self.flat, 1)} if self.flat else {})

    def recall(self, notes: Mapping[str, Tensor]) -> None:
        """Take up what was noted before."""
        if "losses" in notes:
            self.losses, self._began = list(notes["losses"].unbind(1)), int(notes["began"][0])
        self.flat = list(notes["flat"].unbind(1)) if "flat" in notes else []

    def spread(self, rows: Tensor, count: int) -> None:
        """Make what was noted of some of ``count`` images ([b] indices) a note of them all, nan for the others."""

        def whole(values: Tensor) -> Tensor:
            return torch.full((count,), torch.nan).index_copy(0, rows.cpu(), values.float())

        self.losses, self.flat = list(map(whole, self.losses)), list(map(whole, self.flat))

    @staticmethod
    def nothing(count: int) -> dict[str, Tensor]:
        """The summary of an attack that noted nothing."""
        return {name: torch.full((count,), torch.nan) for name in ("loss_first", "loss_late", "loss_last", "loss_best", "flat")}

    def summary(self, count: int) -> dict[str, Tensor]:
        """[B] each: ``loss_first`` and ``loss_best`` of all, ``loss_late`` (after three quarters of its iterates) and ``loss_last`` of the
        last climb, and ``flat``, the share of steps whose gradient was zero everywhere; nan where nothing was noted."""
        found = self.nothing(count)
        if self.losses:
            losses = torch.stack(self.losses)
            found |= {
                "loss_first": losses[0],
                "loss_late": losses[self._began :][(3 * (len(losses) - self._began - 1)) // 4],
                "loss_last": losses[-1],
                "loss_best": losses.amax(0),
            }
        if self.flat:
            found["flat"] = torch.stack(self.flat).float().mean(0)
        return found
