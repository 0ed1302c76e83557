"""Networks that take normalised tensors, behind their normalisation and, where the attack comes before it, their
library's own transforms."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Plain(nn.Module):
    """Images [B,3,H,W] in [0,1] to what a network gives.

    Args:
        mean, std: of what the network takes, 3 values each.
        prepare: resizes, crops and normalises, in place of the normalisation alone; None where images come as the
            network takes them.
        bgr: whether the network takes blue, green, red.
        output: the part of a mapping that is the prediction.
        scale: what a prediction is multiplied by.
        multiple: edges are filled up to multiples of it at the right and the bottom, and the prediction cut.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        mean: Sequence[float] = (0.0,) * 3,
        std: Sequence[float] = (1.0,) * 3,
        prepare: Callable[[Tensor], Tensor] | None = None,
        bgr: bool = False,
        output: str = "out",
        scale: float = 1.0,
        multiple: int = 1,
    ) -> None:
        super().__init__()
        self.network, self.prepare, self.bgr, self.output = network, prepare, bgr, output
        self.scale, self.multiple = scale, multiple
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Any:
        prepared = self.prepare(images) if self.prepare else (images - self.mean) / self.std
        height, width = prepared.shape[-2:]
        if self.multiple > 1:
            prepared = nn.functional.pad(prepared, (0, -width % self.multiple, 0, -height % self.multiple))
        given: Any = self.network(prepared.flip(1) if self.bgr else prepared)
        found: Any = given[self.output] if isinstance(given, dict) and self.output in given else given
        found = found[..., :height, :width] if self.multiple > 1 else found
        return found * self.scale if self.scale != 1 else found
