"""Fashion-MNIST from its four IDX files, gzipped or not: ``fashion_mnist:DIR``."""

import gzip
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from brittle import files
from brittle.errors import MissingError, UsageError
from brittle.types import Sample

HELD_OUT = 5000  # the last pictures of the training file, on which heads are chosen
CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


class FashionMnist:
    """One split: ``train`` is the training file less its last 5,000 pictures, which are ``val``; ``test`` the t10k file. Grey 28x28
    pictures come as three equal channels. Target: ``label``."""

    licence = "MIT (Zalando)"
    classes: Mapping[str, Sequence[str]] = {"label": CLASSES}

    def __init__(self, folder: Path, split: str) -> None:
        stem = "t10k" if split == "test" else "train"
        images, image_sha = _read(folder, f"{stem}-images", 3)
        labels, label_sha = _read(folder, f"{stem}-labels", 1)
        if len(images) != len(labels):
            raise UsageError(f"{folder}: {len(images)} pictures but {len(labels)} labels in the {stem} files; fetch them again")
        if len(labels) and labels.max() >= len(CLASSES):
            raise UsageError(f"{folder}: label {labels.max()} of picture {int(labels.argmax())}; there are {len(CLASSES)} classes")
        if stem == "train" and len(images) <= HELD_OUT:
            raise UsageError(f"{folder}: {len(images)} training pictures; at least {HELD_OUT + 1} are needed to hold out {HELD_OUT}")
        cut = {"train": slice(0, len(images) - HELD_OUT), "val": slice(len(images) - HELD_OUT, None), "test": slice(None)}[split]
        self.fingerprint = files.sha256(f"{image_sha} {label_sha} {split} {HELD_OUT}".encode())
        self._images, self._labels = torch.from_numpy(images[cut]), torch.from_numpy(labels[cut].astype(np.int64))
        self._stem, self._first = stem, cut.start or 0

    @cached_property
    def ids(self) -> Sequence[str]:
        return [f"fashion_mnist-{self._stem}-{self._first + i:05d}" for i in range(len(self))]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int, /) -> Sample:
        return Sample(self._images[index].expand(3, -1, -1), {"label": self._labels[index]})


def fashion_mnist(argument: str, split: str, /) -> FashionMnist:
    """Fashion-MNIST (Xiao et al. 2017), 60,000 / 10,000.

    Args:
        argument: folder with ``{train,t10k}-{images-idx3,labels-idx1}-ubyte``, each plain or ``.gz``.

    Raises:
        MissingError: folder or files are not there.
        UsageError: a file is damaged.
    """
    folder = Path(argument).expanduser()
    if not argument or not folder.is_dir():
        raise MissingError(f"no folder {argument or '(none given)'!r}; write fashion_mnist:DIR with the four idx-ubyte files in DIR")
    return FashionMnist(folder, split)


def _read(folder: Path, stem: str, axes: int) -> tuple[np.ndarray, str]:
    """An IDX file of unsigned bytes as an array with ``axes`` axes, and its sha256."""
    names = [f"{stem}{dot}idx{axes}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise MissingError(f"no {names[0]} or {names[1]} in {folder}; put the four files of Fashion-MNIST there")
    data = path.read_bytes()
    sha = files.sha256(data)
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise UsageError(f"{path}: is damaged or no gzip file; fetch it again") from None
    header = 4 + 4 * axes
    shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, header, 4)]
    if data[:4] != bytes((0, 0, 8, axes)) or len(data) != header + int(np.prod(shape)):
        raise UsageError(
            f"{path}: is no IDX file of {axes} axes or is cut short ({len(data)} bytes, header {data[:4].hex()}); fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy(), sha
