"""Image files to tensors, right by value whatever their mode, with a cap on what is decoded."""

from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from brittle.core.errors import CellError

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".jp2", ".bmp", ".tif", ".tiff", ".gif")
    + (".ppm", ".pgm", ".pbm", ".pnm")
)
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "JPEG2000", "BMP", "TIFF", "PPM", "GIF")
"""What is decoded, whatever the suffix; Pillow knows others, of which EPS starts another program."""
MOST_PIXELS = 50_000_000
Source = Path | tuple[str, bytes]
"""A file, or a name for messages and a file's content."""


def read(source: Source) -> Tensor:
    """An image as [3,H,W], upright (EXIF): uint8, or float32 in [0,1] where the file has 16 bits a value.

    Grey is repeated, transparency dropped, palettes, CMYK and 1-bit are converted.

    Raises:
        CellError: not a readable image, or more than 50 million pixels.
    """
    with _opened(source) as upright:
        if upright.mode.startswith("I"):  # Pillow would clip 16-bit values to white
            grey = np.asarray(upright).astype(np.float32) / 65535
            return torch.from_numpy(grey).clamp(0, 1).expand(3, -1, -1).contiguous()
        pixels = np.array(upright.convert("L" if upright.mode == "F" else "RGB").convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def revision(path: Path) -> str:
    """What to add to the identity of an image whose values are read in another way than they once were."""
    return " by value" if path.suffix.lower() in (".tif", ".tiff") else ""


def size(source: Source) -> tuple[int, int]:
    """Height and width of an image held upright (EXIF); of most formats only the header is read.

    Raises:
        CellError: as ``read``, where the header tells.
    """
    with _raw(source) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return (image.width, image.height) if turned else (image.height, image.width)


def read_mask(source: Source) -> Tensor:
    """A class for each pixel, int64 [H,W], by value: a palette image's indices, not its colours.

    Raises:
        CellError: not a readable image, or one with colours in place of class numbers.
    """
    with _opened(source) as upright:
        if upright.mode not in ("1", "L", "P") and not upright.mode.startswith("I"):
            raise CellError(
                f"{_name(source)}: has colours (mode {upright.mode}), not class numbers; save it as a grey or "
                "palette PNG"
            )
        return torch.from_numpy(np.array(upright).astype(np.int64))


def read_depth(source: Source, scale: float = 0.001) -> Tensor:
    """Depth in metres as the file has it, float32 [1,H,W]: a ``.npy`` array of metres, or an image whose whole numbers
    times ``scale`` are metres (an image of floats has metres). Nothing is cleaned; see ``valid_depth``.

    Raises:
        CellError: not readable, or more than one number a pixel.
    """
    name = _name(source)
    if name.lower().endswith(".npy"):
        stream = source if isinstance(source, Path) else BytesIO(source[1])
        try:
            metres = np.load(stream, allow_pickle=False)
        except FileNotFoundError:
            raise CellError(f"{name}: the file is gone") from None
        except (OSError, ValueError, EOFError, SyntaxError, MemoryError) as error:
            raise CellError(
                f"{name}: cannot be read as a NumPy array ({type(error).__name__}); remove or fix it"
            ) from None
        if not isinstance(metres, np.ndarray):
            raise CellError(f"{name}: is an archive of arrays; save one array of metres with numpy.save")
        metres = metres.squeeze(
            tuple(axis for axis in (0, metres.ndim - 1) if metres.ndim == 3 and metres.shape[axis] == 1)[:1]
        )
    else:
        with _opened(source) as upright:
            if upright.mode not in ("L", "F") and not upright.mode.startswith("I"):
                raise CellError(
                    f"{name}: has colours (mode {upright.mode}), not depth; save it as a 16-bit grey PNG or .npy"
                )
            metres = np.array(upright) if upright.mode == "F" else np.array(upright).astype(np.float64) * scale
    if metres.ndim != 2 or not (
        np.issubdtype(metres.dtype, np.number) and not np.issubdtype(metres.dtype, np.complexfloating)
    ):
        raise CellError(f"{name}: is {metres.dtype} {metres.shape}; depth is one number a pixel, [H, W] in metres")
    return torch.from_numpy(metres.astype(np.float32))[None]


def valid_depth(metres: Tensor, low: float = 0.0, high: float = float("inf")) -> Tensor:
    """The same depth with 0 (void) wherever it is not a finite number in (``low``, ``high``]."""
    return torch.where(metres.isfinite() & (metres > low) & (metres <= high), metres, torch.zeros_like(metres))


def _name(source: Source) -> str:
    return str(source) if isinstance(source, Path) else source[0]


@contextmanager
def _opened(source: Source) -> Generator[Image.Image]:
    """The image upright; see ``_raw``."""
    with _raw(source) as image:
        yield ImageOps.exif_transpose(image)


@contextmanager
def _raw(source: Source) -> Generator[Image.Image]:
    """The image as it is stored, its size checked before any of it is decoded; every way it can be unreadable as one
    CellError."""
    name = _name(source)
    try:
        with Image.open(source if isinstance(source, Path) else BytesIO(source[1]), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise CellError(
                    f"{name}: {width}x{height} is over the cap of {MOST_PIXELS // 1_000_000} million pixels; shrink it"
                )
            yield image
    except CellError:
        raise
    except FileNotFoundError:
        raise CellError(f"{name}: the file is gone") from None
    except Exception as error:  # noqa: BLE001 - each decoder has errors of its own
        raise CellError(f"{name}: cannot be read as an image ({type(error).__name__}); remove or fix it") from None
