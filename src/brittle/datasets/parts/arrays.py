"""Small labelled images of one size that are read whole: one class for every data set published as a few binary
files."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from brittle.core import files
from brittle.core.errors import MissingError, UsageError
from brittle.types import DatasetDefaults, Sample


class Arrays(DatasetDefaults):
    """One split: images ``first`` to ``first + len`` of a published file or files.

    Args:
        images: uint8 [N,3,H,W], or [N,H,W] grey, which is returned as three equal channels.
        labels: int [N].
        stem: what an id begins with, such as ``cifar10-train``.
        sha: hash of the files, so of every pixel and label.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        names: Sequence[str],
        licence: str,
        stem: str,
        sha: str,
        cut: slice = slice(None),
    ) -> None:
        first = cut.indices(len(images))[0]
        self._images, self._labels = torch.from_numpy(images[cut]), torch.from_numpy(labels[cut].astype(np.int64))
        self._stem, self._first = stem, first
        self.licence = licence
        self.classes: Mapping[str, Sequence[str]] = {"label": tuple(names)}
        self.fingerprint = files.sha256(f"{sha} {stem} {first} {len(self)}".encode())

    @cached_property
    def ids(self) -> Sequence[str]:
        return [f"{self._stem}-{self._first + i:05d}" for i in range(len(self))]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int, /) -> Sample:
        image = self._images[index]
        return Sample(image if image.dim() == 3 else image.expand(3, -1, -1), {"label": self._labels[index]})


def content(path: Path) -> tuple[bytes, str]:
    """The bytes of a file, and their sha256.

    Raises:
        MissingError: there is no such file.
    """
    if not path.is_file():
        raise MissingError(f"no file {path}; it is part of the data set as published")
    data = path.read_bytes()
    return data, files.sha256(data)


def records(path: Path, header: int, pixels: int) -> tuple[np.ndarray, np.ndarray, str]:
    """A file of records of equal length, each ``header`` bytes of labels and ``pixels`` bytes: labels [N,header],
    pixels [N,pixels], and its sha256.

    Raises:
        UsageError: its length is not a whole number of records.
    """
    data, sha = content(path)
    if len(data) % (header + pixels):
        raise UsageError(
            f"{path}: {len(data)} bytes are not a whole number of records of {header + pixels}; it is cut short, "
            "fetch it again"
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, header + pixels)
    return rows[:, :header].copy(), rows[:, header:].copy(), sha


def validate_labels(images: np.ndarray, labels: np.ndarray, classes: int, where: Path) -> None:
    """Check that every image has a label and every label is one of the classes.

    Raises:
        UsageError: with the first that is not.
    """
    if len(images) != len(labels):
        raise UsageError(f"{where}: {len(images)} images but {len(labels)} labels; fetch it again")
    invalid = np.flatnonzero((labels < 0) | (labels >= classes))
    if invalid.size:
        raise UsageError(
            f"{where}: label {labels[invalid[0]]} of image {invalid[0]} is none of the {classes} classes (0 to "
            f"{classes - 1}); fix it"
        )
    if not len(images):
        raise UsageError(f"{where}: no images; fetch it again")


def tail(split: str, count: int, where: Path, *, part: float = 0.1, at_least: int = 1) -> slice:
    """The part of a published file that is the split: all of it for ``test``; of a training file the last tenth for
    ``val``, the rest for ``train``."""
    if split == "test":
        return slice(0, count)
    kept = count - max(at_least, int(count * part))
    if kept < 1:
        raise UsageError(f"{where}: {count} training images are too few to hold some out as val")
    return slice(0, kept) if split == "train" else slice(kept, count)
