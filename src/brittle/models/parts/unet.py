"""A small U-Net (Ronneberger et al. 2015): images to logits of each pixel."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

WIDTHS = (16, 32, 64, 128)
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class UNet(nn.Module):
    """Normalised images [B,3,H,W] to logits [B,C,H,W]; two convolutions with batch norm at each of the resolutions, of
    which each is half of the one before. Edges that cannot be halved so often are rounded up inside, by repeating the
    last pixels.

    Args:
        outputs: C.
        widths: channels at each resolution.
    """

    def __init__(self, outputs: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.down = nn.ModuleList(_pair(*each) for each in zip((3, *widths), widths))
        self.up = nn.ModuleList(_pair(low + high, high) for high, low in zip(widths[-2::-1], widths[:0:-1]))
        self.classify = nn.Conv2d(widths[0], outputs, 1)
        self.multiple = 2 ** (len(widths) - 1)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        edges = (0, -width % self.multiple, 0, -height % self.multiple)
        seen = nn.functional.pad(images, edges, mode="replicate")
        levels: list[Tensor] = []
        for number, block in enumerate(self.down):
            seen = block(nn.functional.max_pool2d(seen, 2) if number else seen)
            levels.append(seen)
        for block, level in zip(self.up, levels[-2::-1]):
            seen = block(torch.cat([nn.functional.interpolate(seen, scale_factor=2, mode="nearest"), level], 1))
        return self.classify(seen)[..., :height, :width]


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    def once(channels: int) -> Sequence[Any]:
        return nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()

    return nn.Sequential(*once(inputs), *once(outputs))
