"""The batches of CIFAR-10 and CIFAR-100, in their binary and in their Python version."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.datasets.parts import pickled
from brittle.datasets.parts.arrays import Arrays, content, records, tail, validate_labels

PIXELS = 3 * 32 * 32
Batch = tuple[np.ndarray, np.ndarray, str]  # pixels uint8 [N, 3072], labels [N], sha256 of the file


def binary(path: Path, header: int) -> Batch:
    """A binary batch; the label is the last byte of each record's header."""
    labels, pixels, sha = records(path, header, PIXELS)
    return pixels, labels[:, -1], sha


def python(path: Path, key: str) -> Batch:
    """A batch of the Python version, whose pickle is read without running it; ``key`` names the labels."""
    data, sha = content(path)
    batch = pickled.read(path, data)
    try:
        named = {name.decode() if isinstance(name, bytes) else str(name): value for name, value in batch.items()}
        pixels, labels = named["data"], named[key]
        if not (isinstance(pixels, np.ndarray) and isinstance(labels, list) and all(type(x) is int for x in labels)):
            raise TypeError(f"{key} or data")
        labels = np.array(labels, dtype=np.int64)
        return pixels.reshape(-1, PIXELS), labels, sha
    except (AttributeError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise UsageError(
            f"{path}: is not a batch of CIFAR ({type(error).__name__} at {str(error)[:60]}); fetch it again"
        ) from None


def arrays(
    batches: Sequence[Batch], split: str, root: Path, *, name: str, names: Sequence[str], licence: str
) -> Arrays:
    """A split of the published batches in their order: ``val`` is the last tenth of the training images."""
    pixels = np.concatenate([batch[0] for batch in batches])
    labels = np.concatenate([batch[1] for batch in batches]).astype(np.int64)
    validate_labels(pixels, labels, len(names), root)
    stem = f"{name}-{'test' if split == 'test' else 'train'}"
    sha = files.sha256(" ".join(batch[2] for batch in batches).encode())
    cut = tail(split, len(pixels), root)
    return Arrays(pixels.reshape(-1, 3, 32, 32), labels, names=names, licence=licence, stem=stem, sha=sha, cut=cut)
