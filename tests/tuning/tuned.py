"""An encoder and a source small enough to be tuned in a moment."""

import torch
from torch import Tensor

from brittle.tuning.parts.source import Source
from brittle.types import Encoder, Features

SIZE = 8


class Small(Encoder):
    """Two layers with a nonlinearity between."""

    def __init__(self, dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__(6, 4, size=SIZE, mean=(0.5,) * 3, std=(0.25,) * 3, about={"source": "small"})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            parts = torch.nn.Conv2d(3, 8, 4, 4), torch.nn.GELU(), torch.nn.Dropout(dropout), torch.nn.Conv2d(8, 6, 1)
        self.blocks = torch.nn.Sequential(*parts)

    def forward(self, images: Tensor) -> Features:
        grid = self.blocks(self.normalise(images))
        return Features(grid.mean((2, 3)), grid)


def pictures(count: int = 12, classes: int = 3, seed: int = 0) -> Source:
    """Random images, whose label shows in their mean colour."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, SIZE, SIZE, generator=generator)
    labels = torch.arange(count) % classes
    for place, label in enumerate(labels.tolist()):
        images[place, label] = (images[place, label] + 1) / 2
    return Source(lambda place: (images[place], labels[place]), [f"p{i}" for i in range(count)], seed, classes)
