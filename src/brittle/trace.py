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
            with torch.no_grad():
                self.watch(images.detach())
