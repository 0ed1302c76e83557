"""Fashion-MNIST's IDX files, written here in their exact format."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from brittle.core.errors import MissingError, UsageError
from brittle.datasets.fashion_mnist import HELD_OUT, fashion_mnist

TRAIN, TEST = HELD_OUT + 10, 7


def _idx(array: np.ndarray) -> bytes:
    return struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    made: dict[str, np.ndarray] = {}
    for stem, count in (("train", TRAIN), ("t10k", TEST)):
        made[f"{stem}-images-idx3-ubyte"] = draw.integers(0, 256, (count, 28, 28), np.uint8)
        made[f"{stem}-labels-idx1-ubyte"] = draw.integers(0, 10, count).astype(np.uint8)
    return made


def _write(folder: Path, arrays: dict[str, np.ndarray], zipped: bool = False) -> Path:
    for name, array in arrays.items():
        data = _idx(array)
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(data, 1) if zipped else data)
    return folder


@pytest.mark.parametrize("zipped", [False, True])
def test_reads_every_split(tmp_path: Path, arrays: dict[str, np.ndarray], zipped: bool) -> None:
    folder = _write(tmp_path, arrays, zipped)
    splits = {split: fashion_mnist(str(folder), split) for split in ("train", "val", "test")}
    assert {split: len(data) for split, data in splits.items()} == {"train": 10, "val": HELD_OUT, "test": TEST}
    assert len({name for data in splits.values() for name in data.ids}) == 10 + HELD_OUT + TEST
    assert len({data.fingerprint for data in splits.values()}) == 3
    for split, index, stem, place in (
        ("train", 9, "train", 9),
        ("val", 0, "train", 10),
        ("val", 4999, "train", -1),
        ("test", 3, "t10k", 3),
    ):
        image, targets = splits[split][index]
        assert image.shape == (3, 28, 28)
        assert torch.equal(image[1], torch.from_numpy(arrays[f"{stem}-images-idx3-ubyte"][place]))
        assert targets["label"] == arrays[f"{stem}-labels-idx1-ubyte"][place]
        assert targets["label"].dtype == torch.int64


def test_fingerprint_follows_pixels_and_labels(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    before = fashion_mnist(str(_write(tmp_path, arrays)), "test").fingerprint
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        changed = arrays[name].copy()
        changed.flat[0] = (changed.flat[0] + 1) % 10
        _write(tmp_path, {**arrays, name: changed})
        assert fashion_mnist(str(tmp_path), "test").fingerprint != before


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("t10k-images-idx3-ubyte", lambda data: b"\x01" + data[1:], "no IDX file"),
        ("t10k-images-idx3-ubyte", lambda data: data[:2] + b"\x0d" + data[3:], "no IDX file"),
        ("t10k-images-idx3-ubyte", lambda data: data[:-1], "cut short"),
        ("t10k-images-idx3-ubyte", lambda data: data + b"\0", "no IDX file"),
        ("t10k-images-idx3-ubyte", lambda data: data[:10], "no IDX file"),
        ("t10k-images-idx3-ubyte", lambda data: b"", "no IDX file"),
        ("t10k-images-idx3-ubyte", lambda data: data[:4] + b"\xff\xff\xff\xff" * 3 + data[16:], "no IDX file"),
        ("t10k-labels-idx1-ubyte", lambda data: data[:-1] + b"\x0a", "label 10 of image 6"),
        ("t10k-labels-idx1-ubyte", lambda data: _idx(np.zeros(6, np.uint8)), "7 images but 6 labels"),
    ],
)
def test_damage_is_named(tmp_path: Path, arrays: dict[str, np.ndarray], name: str, damage: object, words: str) -> None:
    _write(tmp_path, arrays)
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))  # type: ignore[operator]
    with pytest.raises(UsageError) as error:
        fashion_mnist(str(tmp_path), "test")
    assert words in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:100], lambda data: b"no gzip", lambda data: data[:50] + bytes([data[50] ^ 255]) + data[51:]],
)
def test_a_damaged_gzip_file_is_named(tmp_path: Path, arrays: dict[str, np.ndarray], damage: object) -> None:
    _write(tmp_path, arrays, zipped=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(UsageError, match="damaged"):
        fashion_mnist(str(tmp_path), "test")


def test_too_few_to_hold_out(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    _write(tmp_path, {name: array[:HELD_OUT] for name, array in arrays.items()})
    with pytest.raises(UsageError, match="5001"):
        fashion_mnist(str(tmp_path), "train")


@pytest.mark.parametrize("name", ["", "nowhere", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_missing(tmp_path: Path, arrays: dict[str, np.ndarray], name: str) -> None:
    _write(tmp_path, arrays)
    argument = {"": "", "nowhere": str(tmp_path / "nowhere")}.get(name, str(tmp_path))
    if argument == str(tmp_path):
        (tmp_path / name).unlink()
    with pytest.raises(MissingError):
        fashion_mnist(argument, "test")
