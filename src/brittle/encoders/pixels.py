"""Raw pixels as features: the baseline that an encoder has to beat."""

from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from brittle.types import Count, Encoder, Features


class Pixels(Encoder):
    """``pooled``: every value of the picture; ``grid``: the values of each 8x8 patch, repeated to the same width."""

    def __init__(self, size: int) -> None:
        about = {"sha256": "", "licence": "none", "parameters": 0, "source": "pixels"}
        super().__init__(3 * size * size, 8, size=size, mean=(0.5,) * 3, std=(0.25,) * 3, about=about)

    def forward(self, images: Tensor) -> Features:
        values = self.normalise(images)
        cells = pixel_unshuffle(values, self.patch)
        repeat = -(-self.dim // cells.shape[1])
        return Features(values.flatten(1), cells.repeat(1, repeat, 1, 1)[:, : self.dim])


def pixels(*, size: Count = 64) -> Encoder:
    """Pixels of pictures ``size`` on an edge (a multiple of 8)."""
    return Pixels(size)


def fingerprint(*, size: int = 64) -> str:
    """There are no weights; the size stands for them."""
    return f"pixels-{size}"
