"""The IDX files of MNIST and its relatives, gzipped or not."""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from brittle.core import files
from brittle.core.errors import MissingError, UsageError
from brittle.datasets.parts.arrays import Arrays, validate_labels

HELD_OUT = 5000  # the last images of the training file, on which heads are chosen


def idx(
    root: Path, split: str, *, name: str, title: str, classes: Sequence[str], licence: str, places: Sequence[str] = ()
) -> Arrays:
    """One split: ``train`` is the training file without its last 5,000 images, which are ``val``; ``test`` the t10k
    file.

    Args:
        name: what ids begin with.
        title: the data set's name in messages.
        places: folders in ``root`` where the files may also be.

    Raises:
        MissingError: a file is missing.
        UsageError: a file is damaged, or a label out of range.
    """
    folder = next((root / place for place in places if (root / place).is_dir()), root)
    stem = "t10k" if split == "test" else "train"
    images, image_sha = _read(folder, f"{stem}-images", 3, title)
    labels, label_sha = _read(folder, f"{stem}-labels", 1, title)
    if len(images) != len(labels):
        raise UsageError(
            f"{folder}: {len(images)} images but {len(labels)} labels in the {stem} files; fetch them again"
        )
    validate_labels(images, labels, len(classes), folder)
    if stem == "train" and len(images) <= HELD_OUT:
        raise UsageError(
            f"{folder}: {len(images)} training images; at least {HELD_OUT + 1} are needed to hold out {HELD_OUT}"
        )
    cut = {"train": slice(0, len(images) - HELD_OUT), "val": slice(len(images) - HELD_OUT, None), "test": slice(None)}[
        split
    ]
    sha = files.sha256(f"{image_sha} {label_sha} {split} {HELD_OUT}".encode())
    return Arrays(images, labels, names=classes, licence=licence, stem=f"{name}-{stem}", sha=sha, cut=cut)


def _read(folder: Path, stem: str, axes: int, title: str) -> tuple[np.ndarray, str]:
    """An IDX file of unsigned bytes as an array with ``axes`` axes, and its sha256."""
    names = [f"{stem}{dot}idx{axes}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise MissingError(f"no {names[0]} or {names[1]} in {folder}; put the four files of {title} there")
    data = path.read_bytes()
    sha = files.sha256(data)
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise UsageError(f"{path}: is damaged or not a gzip file; fetch it again") from None
    header = 4 + 4 * axes
    shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, header, 4)]
    if data[:4] != bytes((0, 0, 8, axes)) or len(data) != header + int(np.prod(shape)):
        raise UsageError(
            f"{path}: is no IDX file of {axes} axes or is cut short ({len(data)} bytes, header {data[:4].hex()}); "
            "fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy(), sha
