"""Picture files to tensors, right by value whatever their mode, with a cap on what is decoded."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from brittle.errors import CellError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"})
MOST_PIXELS = 50_000_000


def read(path: Path) -> Tensor:
    """A picture as [3,H,W], upright (EXIF): uint8, or float32 in [0,1] where the file has 16 bits a value.

    Grey is repeated, transparency dropped, palettes, CMYK and 1-bit are converted.

    Raises:
        CellError: not a readable picture, or more than 50 million pixels.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise CellError(f"{path}: {width}x{height} is over the cap of {MOST_PIXELS // 1_000_000} million pixels; shrink it")
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I"):  # Pillow would clip 16-bit values to white
                grey = np.asarray(upright).astype(np.float32) / 65535
                return torch.from_numpy(grey).clamp(0, 1).expand(3, -1, -1).contiguous()
            pixels = np.array(upright.convert("L" if upright.mode == "F" else "RGB").convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, FileNotFoundError):
            raise CellError(f"{path}: the file is gone") from None
        raise CellError(f"{path}: cannot be read as a picture ({type(error).__name__}); remove or mend it") from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
