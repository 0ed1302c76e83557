"""Raw pixels as features: the baseline that an encoder has to beat."""

from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from brittle.core.errors import UsageError
from brittle.core.traits import EncoderTraits
from brittle.encoders.parts.wrappers import Size
from brittle.types import Encoder, Features


class Pixels(Encoder):
    """``pooled``: every value of the image; ``grid``: the values of each 8x8 patch, repeated to the same width."""

    def __init__(self, size: int) -> None:
        about = {"sha256": "", "licence": "none", "parameters": 0, "source": "pixels"}
        super().__init__(3 * size * size, 8, size=size, mean=(0.5,) * 3, std=(0.25,) * 3, about=about)

    def forward(self, images: Tensor) -> Features:
        if images.shape[-2:] != (self.size, self.size):
            raise UsageError(
                f"pixels(size={self.size}) got an image of {images.shape[-2]}x{images.shape[-1]}; it has one size"
            )
        values = self.normalise(images)
        cells = pixel_unshuffle(values, self.patch)
        repeat = -(-self.dim // cells.shape[1])
        return Features(values.flatten(1), cells.repeat(1, repeat, 1, 1)[:, : self.dim])


def pixels(*, size: Size = 64) -> Encoder:
    """Pixels of images ``size`` on an edge.

    Args:
        size: edge of the images, a multiple of 8.

    Raises:
        UsageError: ``size`` is not a multiple of 8.
    """
    if size < 8 or size % 8:
        raise UsageError(f"pixels(size={size}): the edge must be a multiple of 8, such as 64")
    return Pixels(size)


def fingerprint(*, size: int = 64) -> str:
    """There are no weights; the size stands for them."""
    return f"pixels-{size}"


TRAITS = EncoderTraits(fingerprint=fingerprint)
