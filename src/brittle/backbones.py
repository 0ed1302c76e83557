"""A timm network as an Encoder: pooled and grid features of any input size, gradients all the way to the pixels."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from brittle.types import Encoder, Features


class TimmEncoder(Encoder):
    """Wraps a timm model that has ``forward_intermediates``.

    ``pooled`` is the final-norm CLS token, or the mean of the grid where there is none; ``grid`` the final-norm patch tokens (a ViT) or the
    last feature map (a CNN). Pictures whose size is no multiple of ``patch`` are padded at the right and bottom with the mean colour,
    inside, so an attack never touches the padding.

    Args:
        network: the timm model, without its classifier.
        patch: edge in pixels of a patch, or the total stride of a CNN.
    """

    def __init__(
        self, network: nn.Module, patch: int, *, size: int, mean: Sequence[float], std: Sequence[float], about: Mapping[str, Any]
    ) -> None:
        super().__init__(int(network.num_features), patch, size=size, mean=mean, std=std, about=about)  # type: ignore[arg-type]
        self.network = network
        self.prefix = int(getattr(network, "num_prefix_tokens", 0))

    def forward(self, images: Tensor) -> Features:
        height, width = images.shape[-2:]
        padded = nn.functional.pad(self.normalise(images), (0, -width % self.patch, 0, -height % self.patch))
        options: dict[str, Any] = {"return_prefix_tokens": True} if self.prefix else {}
        (last,) = self.network.forward_intermediates(padded, indices=1, norm=True, intermediates_only=True, **options)  # type: ignore[operator]
        grid, pooled = (last[0], last[1][:, 0]) if self.prefix else (last, last.mean((2, 3)))
        return Features(pooled, grid)
