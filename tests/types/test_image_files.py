"""Image files: right by value in every mode, and one line for whatever is no image."""

import contextlib
import os
import random
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, PngImagePlugin

from brittle.core.errors import CellError
from brittle.types import as_float, image_files
from brittle.types.image_files import read, read_mask, size

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOUR = np.stack([RAMP, RAMP.T, 255 - RAMP], 2)


def _grey() -> torch.Tensor:
    return torch.from_numpy(RAMP.copy()).expand(3, -1, -1)


def _colour() -> torch.Tensor:
    return torch.from_numpy(COLOUR.copy()).permute(2, 0, 1)


def _save(folder: Path, mode: str) -> tuple[Path, torch.Tensor]:
    """A file of ``mode`` and its 8-bit RGB twin."""
    grey, colour = Image.fromarray(RAMP), Image.fromarray(COLOUR)
    path, twin = folder / "x.png", _grey()
    match mode:
        case "L":
            made = grey
        case "LA":
            made = Image.merge("LA", [grey, Image.new("L", (16, 16), 10)])
        case "RGB":
            made, twin = colour, _colour()
        case "RGBA":
            made, twin = colour.copy(), _colour()
            made.putalpha(Image.fromarray(RAMP))
        case "P":
            made = colour.quantize(16)
            twin = torch.from_numpy(np.array(made.convert("RGB"))).permute(2, 0, 1)
        case "CMYK":
            made, twin, path = colour.convert("CMYK"), _colour(), folder / "x.tif"
        case "1":
            made = grey.point(lambda value: 255 * (value > 99), mode="1")
            twin = _grey().gt(99).to(torch.uint8) * 255
        case "F":
            made, path = grey.convert("F"), folder / "x.tif"
        case "I;16":
            made = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert made.mode == mode
    made.save(path)
    return path, twin


@pytest.mark.fault("F15")
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "CMYK", "1", "F", "I;16"])
def test_every_mode_is_read_by_value(tmp_path: Path, mode: str) -> None:
    path, twin = _save(tmp_path, mode)
    found = image_files.read(path)
    assert found.shape == (3, 16, 16)
    assert found.dtype in (torch.uint8, torch.float32)
    slack = 1 / 255 if mode == "I;16" else 0
    assert (as_float(found) - as_float(twin)).abs().max() <= slack + 1e-6


@pytest.mark.fault("F15")
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_not_cut_to_8(tmp_path: Path, suffix: str) -> None:
    values = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    Image.fromarray(values).save(tmp_path / f"x.{suffix}")
    found = image_files.read(tmp_path / f"x.{suffix}")
    assert torch.allclose(found[0], torch.from_numpy(values.astype(np.float32) / 65535), atol=1e-6)


@pytest.mark.fault("F07")
@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_exif_rotation(tmp_path: Path, orientation: int, turn: int) -> None:
    image = Image.fromarray(COLOUR[:8])
    exif = Image.Exif()
    exif[0x0112] = orientation
    for suffix in ("jpg", "png"):
        image.save(tmp_path / f"x.{suffix}", exif=exif)
        assert image_files.size(tmp_path / f"x.{suffix}") == image_files.read(tmp_path / f"x.{suffix}").shape[1:]
    wanted = np.rot90(COLOUR[:8], turn)
    assert torch.equal(image_files.read(tmp_path / "x.png"), torch.from_numpy(wanted.copy()).permute(2, 0, 1))


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def _jpeg(folder: Path) -> bytes:
    Image.fromarray(COLOUR).resize((64, 64)).save(folder / "whole.jpg")
    return (folder / "whole.jpg").read_bytes()


@pytest.mark.fault("F06")
@pytest.mark.threat("images")
@pytest.mark.parametrize("what", ["text", "empty", "truncated", "8000x7500", "60000x60000", "gone", "folder"])
def test_what_is_no_image_is_one_line(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x.jpg"
    match what:
        case "text":
            path.write_text("not an image")
        case "empty":
            path.write_bytes(b"")
        case "truncated":
            data = _jpeg(tmp_path)
            path.write_bytes(data[: len(data) * 2 // 3])
        case "folder":
            path.mkdir()
        case "gone":
            pass
        case _:
            width, height = map(int, what.split("x"))
            path.write_bytes(_png(width, height))
    with pytest.raises(CellError) as error:
        image_files.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    if what == "8000x7500":
        assert "million pixels" in str(error.value)


@pytest.mark.threat("images")
def test_postscript_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands EPS to ghostscript, whatever the suffix."""
    started = tmp_path / "started"
    for name in ("gs", "gswin64c"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {started}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    Image.fromarray(COLOUR).save(tmp_path / "x.eps")
    path = (tmp_path / "x.eps").rename(tmp_path / "x.png")
    for look in (image_files.read, image_files.size, image_files.read_mask, image_files.read_depth):
        with pytest.raises(CellError, match="cannot be read as an image"):
            look(path)
    assert not started.exists()


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError, MemoryError, struct.error, zlib.error, KeyError])
def test_any_error_of_a_decoder_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fault(_image: Image.Image) -> None:
        raise error("deep inside\na decoder")

    Image.fromarray(COLOUR).save(tmp_path / "x.png")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fault)
    with pytest.raises(CellError, match=rf"x\.png: cannot be read as an image \({error.__name__}\)"):
        image_files.read(tmp_path / "x.png")


@pytest.mark.parametrize("suffix", sorted(image_files.SUFFIXES))
def test_every_suffix_taken_can_be_read(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(COLOUR).save(tmp_path / f"x{suffix}", "PPM" if suffix in (".pbm", ".pnm") else None)
    assert image_files.read(tmp_path / f"x{suffix}").shape == (3, 16, 16)
    assert image_files.size(tmp_path / f"x{suffix}") == (16, 16)


@pytest.mark.fault("F06")
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "webp", "tif", "ppm"])
def test_damaged_images_are_read_or_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(COLOUR).save(path)
    whole, draw = path.read_bytes(), random.Random(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(draw.choice((1, 1, 4))):
                data[draw.randrange(len(data) if draw.random() < 0.5 else min(len(data), 64))] = draw.randrange(256)
            path.write_bytes(data[: draw.randrange(len(data))] if draw.random() < 0.2 else data)
            try:
                found = image_files.read(path)
            except CellError:
                with contextlib.suppress(CellError):  # a header may be whole where the rest is not
                    image_files.size(path)
                continue
            assert image_files.size(path) == found.shape[1:]
            assert found.shape[0] == 3
            assert as_float(found).min() >= 0
            assert as_float(found).max() <= 1


def _tiff(path: Path, numbers: np.ndarray, bits: int, sign: int = 1, black: int = 1) -> Path:
    """A grey TIFF whose numbers are stored as they are given, or in 12 bits each."""
    height, width = numbers.shape
    data = numbers.tobytes()
    if bits == 12:
        pairs = numbers.reshape(-1, 2).astype(int)
        data = b"".join(bytes((x >> 4, (x & 15) << 4 | y >> 8, y & 255)) for x, y in pairs.tolist())
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: black, 273: 0, 277: 1, 278: height, 279: len(data)}
    tags[339] = sign
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    path.write_bytes(head + rows + b"\0\0\0\0" + data)
    return path


SHARE = np.linspace(0, 1, 96).reshape(8, 12)


@pytest.mark.fault("F15")
@pytest.mark.parametrize(
    ("numbers", "bits", "sign"),
    [
        (SHARE.astype("<f4"), 32, 3),
        ((SHARE * 255).astype("<f4"), 32, 3),
        (np.round(SHARE * 65535).astype("<u2"), 16, 1),
        (np.round(SHARE * 4095).astype("<u2"), 12, 1),
        (np.round(SHARE * 255).astype("u1"), 8, 1),
    ],
)
def test_grey_of_any_depth_is_right_by_value(tmp_path: Path, numbers: np.ndarray, bits: int, sign: int) -> None:
    image = as_float(read(_tiff(tmp_path / "x.tif", numbers, bits, sign)))
    np.testing.assert_allclose(image, np.broadcast_to(SHARE, (3, 8, 12)), atol=0.51 / (2 ** min(bits, 16) - 1))


@pytest.mark.parametrize(
    ("numbers", "bits", "sign", "black", "said"),
    [
        ((SHARE * (2**31 - 1)).astype("<i4"), 32, 2, 1, "a sign or 32 bits"),
        ((SHARE * (2**32 - 1)).astype("<u4"), 32, 1, 1, "a sign or 32 bits"),
        ((SHARE * 32767).astype("<i2"), 16, 2, 1, "a sign or 32 bits"),
        ((SHARE * 127).astype("i1"), 8, 2, 1, "a sign or 32 bits"),
        ((SHARE * 65535).astype("<u2"), 16, 1, 0, "0 is white"),
        (SHARE.astype("<f4"), 32, 3, 0, "0 is white"),
        ((SHARE * 4000).astype("<f4"), 32, 3, 1, "go from 0 to 4000"),
        ((SHARE - 0.5).astype("<f4"), 32, 3, 1, "go from -0.5 to 0.5"),
        ((SHARE * np.nan).astype("<f4"), 32, 3, 1, "go from nan"),
    ],
)
def test_grey_whose_white_is_not_known_is_refused(
    tmp_path: Path, numbers: np.ndarray, bits: int, sign: int, black: int, said: str
) -> None:
    with pytest.raises(CellError, match=rf"x\.tif: .*{said}"):
        read(_tiff(tmp_path / "x.tif", numbers, bits, sign, black))


@pytest.mark.parametrize("end", ["jpg", "png", "webp", "avif", "tif", "jp2", "bmp", "gif", "ppm"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_the_size_without_decoding_is_that_of_the_decoded(tmp_path: Path, end: str, turn: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    path = tmp_path / f"x.{end}"
    try:
        Image.new("RGB", (12, 8), "red").save(path, exif=exif)
    except (KeyError, OSError):
        pytest.skip(f"Pillow is built without {end}")
    assert size(path) == tuple(read(path).shape[1:])


@pytest.mark.parametrize(("bits", "row"), [(1, 0b01100000), (2, 0b00011011), (4, 0x1F)])
def test_class_numbers_of_few_bits_are_not_stretched(tmp_path: Path, bits: int, row: int) -> None:
    """Pillow makes 0, 85, 170 and 255 of two bits, and 255 would be void."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    width = min(4, 8 // bits)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, 0, 0, 0, 0))
    path = tmp_path / "mask.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes((0, row)))) + chunk(b"IEND", b""))
    expected = [row >> (8 - bits * (i + 1)) & (2**bits - 1) for i in range(width)]
    assert read_mask(path).tolist() == [expected]


def test_masks_that_do_not_hold_class_numbers_are_refused(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 3).save(tmp_path / "x.png", "JPEG")
    with pytest.raises(CellError, match="is a JPEG, which changes class numbers"):
        read_mask(tmp_path / "x.png")
    (tmp_path / "x.pgm").write_bytes(b"P5 2 1 20\n\x00\x01")
    with pytest.raises(CellError, match="scaled"):
        read_mask(tmp_path / "x.pgm")
    with pytest.raises(CellError, match="with a sign"):
        read_mask(_tiff(tmp_path / "x.tif", (SHARE * 127).astype("i1"), 8, 2))
