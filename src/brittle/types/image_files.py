"""Image files to tensors, right by value whatever their mode, with a cap on what is decoded."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from brittle.core.errors import BrittleError, CellError

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".jp2", ".bmp", ".tif", ".tiff", ".gif")
    + (".ppm", ".pgm", ".pbm", ".pnm")
)
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "JPEG2000", "BMP", "TIFF", "PPM", "GIF")
"""What is decoded, whatever the suffix; Pillow knows others, of which EPS starts another program."""
BITS, SIGNS = 258, 339  # TIFF: bits of a value; 1 without a sign, 2 with one, 3 floating point
MOST_PIXELS = 50_000_000
Source = Path | tuple[str, bytes]
"""A file, or a name for messages and a file's content."""


def read(source: Source) -> Tensor:
    """An image as [3,H,W], upright (EXIF): uint8, or float32 in [0,1] where the file has more than 8 bits a value.

    Grey is repeated, transparency dropped, palettes, CMYK and 1-bit are converted. Floating point is brightness in
    [0, 1], or in [0, 255] where it goes beyond 1.

    Raises:
        CellError: not a readable image, more than 50 million pixels, or numbers of which none is known to be white.
    """
    with _raw(source) as image:
        white = _white(image, _name(source))
        upright = ImageOps.exif_transpose(image)
        if white is None:
            pixels = np.array(upright.convert("RGB"))
            return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        grey = np.array(upright).astype(np.float32)
    if upright.mode == "F":
        low, high = float(grey.min()), float(grey.max())
        if not 0 <= low <= high <= 255:  # neither where one of them is nan
            raise CellError(f"{_name(source)}: its numbers go from {low:g} to {high:g}; save brightness as 0 to 1")
        white = 1 if high <= 1 else 255
    return torch.from_numpy(grey / np.float32(white)).expand(3, -1, -1).contiguous()


def _white(image: Image.Image, name: str) -> int | None:
    """The number that stands for white in an image that Pillow cannot convert by value: it would clip or cut what has
    more than 8 bits. None for the others.

    Raises:
        CellError: numbers with a sign, of 32 bits, or in which 0 is white.
    """
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    bits, signs = tags.get(BITS, (16,)), tags.get(SIGNS, (1,))
    if image.mode != "F" and (2 in signs or (tags and image.mode == "I")):
        raise CellError(f"{name}: its numbers have a sign or 32 bits; save 8 or 16 bits, or brightness as 0 to 1")
    if image.mode != "F" and not image.mode.startswith("I"):
        return None
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:
        raise CellError(f"{name}: 0 is white in it; save it with 0 as black")
    return int(2 ** bits[0] - 1) if image.mode.startswith("I;") else 65535


def _numbers(image: Image.Image, name: str) -> NDArray[Any]:
    """The numbers of an image as they are in the file, upright; Pillow stretches those of 2 and 4 bits to 8.

    Raises:
        CellError: numbers that cannot be told from what Pillow makes of them.
    """
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    tile = next(iter(getattr(image, "tile", ())), None)
    raw = tile.args if tile else ""
    raw = str(raw[0] if isinstance(raw, tuple) and raw else raw)
    signed = 2 in tags.get(SIGNS, (1,)) and image.mode == "L"
    if signed or tags.get(ExifTags.Base.PhotometricInterpretation) == 0 or (tile and tile.codec_name.startswith("ppm")):
        raise CellError(f"{name}: its numbers are stored with a sign, upside down or scaled; save it as a grey PNG")
    values = np.array(ImageOps.exif_transpose(image))
    return values // {"L;2": 85, "L;4": 17}.get(raw[:3], 1) if image.mode == "L" else values


def revision(path: Path) -> str:
    """What to add to the identity of an image whose values are read in another way than they once were."""
    return " by value" if path.suffix.lower() in (".tif", ".tiff") else ""


def size(source: Source) -> tuple[int, int]:
    """Height and width of an image held upright (EXIF); of most formats only the header is read.

    Raises:
        CellError: as ``read``, where the header tells.
    """
    with _raw(source) as image:
        if image.format == "TIFF":  # of which Pillow turns the size with the pixels, in some versions
            upright = ImageOps.exif_transpose(image)
            return upright.height, upright.width
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return (image.width, image.height) if turned else (image.height, image.width)


def read_mask(source: Source) -> Tensor:
    """A class for each pixel, int64 [H,W], by value: a palette image's indices, not its colours.

    Raises:
        CellError: not a readable image, or one with colours in place of class numbers.
    """
    name = _name(source)
    with _raw(source) as image:
        if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
            raise CellError(
                f"{name}: has colours (mode {image.mode}), not class numbers; save it as a grey or palette PNG"
            )
        if image.format in ("JPEG", "MPO"):
            raise CellError(f"{name}: is a JPEG, which changes class numbers; save it as a grey or palette PNG")
        return torch.from_numpy(_numbers(image, name).astype(np.int64))


def read_depth(source: Source, scale: float = 0.001) -> Tensor:
    """Depth in metres as the file has it, float32 [1,H,W]: a ``.npy`` array of metres, or an image whose whole numbers
    times ``scale`` are metres (an image of floats has metres). Nothing is cleaned; see ``valid_depth``.

    Raises:
        CellError: not readable, or more than one number a pixel.
    """
    name = _name(source)
    if name.lower().endswith(".npy"):
        with decoding(name, "a NumPy array"):
            metres = np.load(source if isinstance(source, Path) else BytesIO(source[1]), allow_pickle=False)
        if not isinstance(metres, np.ndarray):
            raise CellError(f"{name}: is an archive of arrays; save one array of metres with numpy.save")
        metres = metres.squeeze(
            tuple(axis for axis in (0, metres.ndim - 1) if metres.ndim == 3 and metres.shape[axis] == 1)[:1]
        )
    else:
        with _raw(source) as image:
            if image.mode not in ("L", "F") and not image.mode.startswith("I"):
                raise CellError(
                    f"{name}: has colours (mode {image.mode}), not depth; save it as a 16-bit grey PNG or .npy"
                )
            numbers = _numbers(image, name)
            metres = numbers if image.mode == "F" else numbers.astype(np.float64) * scale
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
def decoding(name: str, what: str) -> Generator[None]:
    """Every way in which a file cannot be decoded as one CellError that names it."""
    try:
        yield
    except BrittleError:
        raise
    except FileNotFoundError:
        raise CellError(f"{name}: the file is gone") from None
    except Exception as error:  # noqa: BLE001 - each decoder has errors of its own
        raise CellError(f"{name}: cannot be read as {what} ({type(error).__name__}); remove or fix it") from None


@contextmanager
def _raw(source: Source) -> Generator[Image.Image]:
    """The image as it is stored, its size checked before any of it is decoded; every way it can be unreadable as one
    CellError."""
    name = _name(source)
    with (
        decoding(name, "an image"),
        Image.open(source if isinstance(source, Path) else BytesIO(source[1]), formats=FORMATS) as image,
    ):
        width, height = image.size
        if width * height > MOST_PIXELS:
            raise CellError(
                f"{name}: {width}x{height} is over the cap of {MOST_PIXELS // 1_000_000} million pixels; shrink it"
            )
        yield image
