"""What an attack saw on its way, image by image: the evidence that checks read and curves are drawn from."""

from collections.abc import Callable

import torch
from torch import Tensor


class Trace:
    """Filled by the loop that climbs, one ``note`` an iterate.

    Args:
        watch: called with the iterate [B,3,H,W] of each step, for whoever wants more of it than its loss.

    ``losses``: a [B] tensor an iterate: the task's loss, or the objective's value where no head was asked. ``flat``: a [B] tensor a step:
    whether an image's gradient was zero everywhere. ``candidates``: the images that each member of an ensemble found,
    where somebody put a list there.
    """

    def __init__(self, watch: Callable[[Tensor], None] | None = None) -> None:
        self.watch = watch
        self.losses: list[Tensor] = []
        self.flat: list[Tensor] = []
        self.candidates: list[Tensor] | None = None

    def note(self, images: Tensor, loss: Tensor, gradient: Tensor | None = None) -> None:
        """An iterate, its loss [B], and the gradient there [B,3,H,W] where one was taken."""
        self.losses.append(loss.detach().float().cpu())
        if gradient is not None:
            self.flat.append((gradient.flatten(1).abs().amax(1) == 0).cpu())
        if self.watch is not None:
            self.watch(images.detach())

    @staticmethod
    def nothing(count: int) -> dict[str, Tensor]:
        """The summary of an attack that noted nothing."""
        return {name: torch.full((count,), torch.nan) for name in ("loss_first", "loss_late", "loss_last", "loss_best", "flat")}

    def summary(self, count: int) -> dict[str, Tensor]:
        """[B] each: ``loss_first``, ``loss_late`` (after three quarters of the iterates), ``loss_last``, ``loss_best``, and ``flat``, the
        share of steps whose gradient was zero everywhere; nan where nothing was noted."""
        found = self.nothing(count)
        if self.losses:
            losses = torch.stack(self.losses)
            found |= {
                "loss_first": losses[0],
                "loss_late": losses[(3 * (len(losses) - 1)) // 4],
                "loss_last": losses[-1],
                "loss_best": losses.amax(0),
            }
        if self.flat:
            found["flat"] = torch.stack(self.flat).float().mean(0)
        return found
