"""Masks and depth maps are read by value, whatever the file's mode; what is neither is refused, and nothing in it
runs."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from brittle.core.errors import CellError
from brittle.types import image_files

INDICES = np.array([[0, 1, 2], [3, 254, 255]], np.uint8)


def test_a_mask_is_its_values_and_not_its_colours(tmp_path: Path) -> None:
    grey = Image.fromarray(INDICES)
    grey.save(tmp_path / "L.png")
    palette = Image.frombytes("P", grey.size, INDICES.tobytes())
    palette.putpalette([(7 * i) % 256 for i in range(768)])
    palette.save(tmp_path / "P.png")
    palette.save(tmp_path / "transparent.png", transparency=0)
    Image.fromarray(INDICES.astype(np.uint16)).save(tmp_path / "I;16.png")
    Image.fromarray(INDICES.astype(np.int32)).save(tmp_path / "I.tif")
    for path in sorted(tmp_path.iterdir()):
        mask = image_files.read_mask(path)
        assert mask.dtype == torch.int64, path
        assert mask.tolist() == INDICES.tolist(), path
    Image.fromarray(INDICES > 1).save(tmp_path / "1.png")
    assert image_files.read_mask(tmp_path / "1.png").tolist() == [[0, 0, 1], [1, 1, 1]]


def test_a_mask_beyond_8_bits_keeps_its_values(tmp_path: Path) -> None:
    Image.fromarray(np.array([[256, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert image_files.read_mask(tmp_path / "a.png").tolist() == [[256, 65535]]


@pytest.mark.fault("F07")
def test_a_mask_is_turned_as_its_image_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right
    for name in ("mask.png", "image.png"):
        Image.fromarray(INDICES).save(tmp_path / name, exif=exif)
    assert image_files.read_mask(tmp_path / "mask.png").tolist() == image_files.read(tmp_path / "image.png")[0].tolist()
    assert image_files.read_mask(tmp_path / "mask.png").shape == (3, 2)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "LA", "F"])
def test_a_mask_of_another_mode_is_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode in ("CMYK", "F") else "a.png")
    Image.new(mode, (4, 4)).save(path)
    with pytest.raises(CellError, match=r"not class numbers"):
        image_files.read_mask(path)


def test_depth_is_metres_whatever_the_file(tmp_path: Path) -> None:
    metres = np.array([[0.5, 1.25, 0], [10, 65.535, 2]], np.float32)
    Image.fromarray((metres.astype(np.float64) * 1000).round().astype(np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(metres).save(tmp_path / "a.tif")
    for name, array in (
        ("f4", metres),
        ("f8", metres.astype(np.float64)),
        ("f2", metres.astype(np.float16)),
        ("chw", metres[None]),
    ):
        np.save(tmp_path / f"{name}.npy", array)
    np.save(tmp_path / "hwc.npy", metres[..., None])
    np.save(tmp_path / "fortran.npy", np.asfortranarray(metres))
    for path in sorted(tmp_path.iterdir()):
        depth = image_files.read_depth(path)
        assert depth.dtype == torch.float32, path
        assert depth.shape == (1, 2, 3), path
        assert torch.allclose(depth[0], torch.from_numpy(metres), rtol=1e-3), path
    assert image_files.read_depth(tmp_path / "a.png", 0.01)[0, 0, 0] == 5


@pytest.mark.fault("F09")
def test_invalid_depth_is_void() -> None:
    depth = torch.tensor([[float("nan"), float("inf"), -float("inf"), -1, 0, 1e-3, 2, 10, 10.1]])
    assert image_files.valid_depth(depth).tolist()[0][-4:] == pytest.approx([1e-3, 2, 10, 10.1])
    assert image_files.valid_depth(depth)[0, :5].count_nonzero() == 0
    assert image_files.valid_depth(depth, 1e-3, 10.0)[0].tolist() == [0, 0, 0, 0, 0, 0, 2, 10, 0]


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.threat("pickle")
def test_depth_that_would_run_code_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([Canary(tmp_path / "canary")], dtype=object), allow_pickle=True)
    with pytest.raises(CellError, match="cannot be read"):
        image_files.read_depth(tmp_path / "a.npy")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("what", ["absent", "empty", "text", "cut", "archive", "colours", "vector", "complex", "words"])
def test_what_is_no_depth_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    path = tmp_path / ("a.png" if what == "colours" else "a.npy")
    array = np.ones((4, 5), np.float32)
    if what == "archive":
        with path.open("wb") as stream:
            np.savez(stream, a=array)
    elif what == "colours":
        Image.new("RGB", (4, 4)).save(path)
    elif what in ("empty", "text"):
        path.write_text("" if what == "empty" else "no depth")
    elif what != "absent":
        np.save(path, {"vector": array[0], "complex": array + 0j, "words": np.array([["a"]])}.get(what, array))
        if what == "cut":
            path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CellError) as error:
        image_files.read_depth(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
