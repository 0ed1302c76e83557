"""An encoder and a source small enough to be tuned in a moment."""

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from brittle.encoders.parts.timm_network import TimmEncoder
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


def vit(size: int = SIZE, **options: object) -> TimmEncoder:
    """A transformer of two blocks, with CLS."""
    shape = {"img_size": size, "patch_size": 4, "embed_dim": 12, "depth": 2, "num_heads": 2, "num_classes": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = VisionTransformer(**{"dynamic_img_size": True, **shape, **options})
        for weight in network.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    about = {"source": "vit", "parameters": sum(p.numel() for p in network.parameters())}
    return TimmEncoder(network, 4, size=size, mean=(0.5,) * 3, std=(0.25,) * 3, about=about).eval()


def projected() -> Small:
    """With a projector to another width."""
    encoder = Small()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        encoder.projector = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 4)).eval()
    return encoder


def fitting(method: str) -> Encoder:
    """An encoder that a method can tune."""
    return {"profeat": projected, "robustness_tokens": vit}.get(method, Small)()


def pictures(count: int = 12, classes: int = 3, seed: int = 0) -> Source:
    """Random images, whose label shows in their mean colour."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, SIZE, SIZE, generator=generator)
    labels = torch.arange(count) % classes
    for place, label in enumerate(labels.tolist()):
        images[place, label] = (images[place, label] + 1) / 2
    return Source(lambda place: (images[place], labels[place]), [f"p{i}" for i in range(count)], seed, classes)
