"""Computed tensors on disk, shared by all runs: named by a hash of their origin, sealed with a sha256, made again when
damaged."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from brittle.core import files, shared
from brittle.core.claims import claimed
from brittle.core.errors import CellError, UsageError
from brittle.core.spec import number

ADVERSARIAL_VERSION = 3
LIMIT = "BRITTLE_FEATURES_GB"
SPARE = 2 * 10**8  # bytes of the disk that features leave free
MAPPED = 2**20  # bytes; a process may hold some 65,000 mapped files, and small ones can as well be read


def get_or_make(
    folder: str, key: Mapping[str, Any], make: Callable[[], Mapping[str, Tensor]], *, wait: bool = True
) -> dict[str, Tensor]:
    """The tensors stored under ``key``, or what ``make`` gives, stored. Two processes never make the same one at once.

    Args:
        folder: one of ``core.shared.KINDS`` that holds tensors, such as ``features``.
        key: everything the tensors depend on, as plain data.
        wait: whether to wait for another process that is making them.

    Raises:
        Busy: another is, and it is not to be waited for.
    """
    path = _path(folder, key)
    stored = _stored(path)
    if stored is not None:
        files.used(path)
        return stored
    with claimed(path.with_suffix(".lock"), wait=wait):
        stored = _stored(path)  # another process may have been quicker
        if stored is None:
            tensors = {key: value.detach().cpu().contiguous().clone() for key, value in make().items()}
            files.write_whole(path, save(tensors, metadata={"seal": _seal(tensors)}))
            stored = _stored(path)
            if stored is None and not path.exists():
                return tensors  # another process has made room already
    if stored is None:
        raise CellError(f"{path} is damaged right after it was written; check the disk, or set BRITTLE_CACHE elsewhere")
    return stored


def is_made(folder: str, key: Mapping[str, Any]) -> bool:
    """Whether tensors are stored under ``key``, without reading them."""
    return _path(folder, key).is_file()


def _path(folder: str, key: Mapping[str, Any]) -> Path:
    name = files.sha256(json.dumps({"kind": folder, **key}, sort_keys=True).encode())
    return shared.folder(folder) / name[:2] / f"{name}.safetensors"


def most() -> float:
    """Bytes that features may take on disk: ``BRITTLE_FEATURES_GB`` gigabytes, 100 if not set.

    Raises:
        UsageError: that is no number of gigabytes.
    """
    return bytes_of(os.environ.get(LIMIT, "100"), LIMIT)


def bytes_of(gigabytes: str, name: str) -> float:
    """Bytes of a setting, ``name``, in gigabytes.

    Raises:
        UsageError: that is no number of gigabytes.
    """
    try:
        size = number(gigabytes)
    except UsageError:
        size = math.nan
    if not size >= 0:
        raise UsageError(f"{name} is {gigabytes!r}; give a number of gigabytes, such as 100, or 0 to keep none")
    return size * 1e9


def free() -> int:
    """Bytes that are free where the cache lies."""
    place = files.cache()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def room() -> float:
    """Bytes that the features of one head may take on disk, where those of others make room for it."""
    return min(most(), free() + sum(size for _, size, _ in _features()) - SPARE)


def make_room(size: int) -> None:
    """Remove features, those first that were used longest ago, until so many bytes are free and ``SPARE`` beside. What
    is wanted now was used last."""
    missing = size + SPARE - free()
    if missing > 0:
        _remove(missing)


def trim() -> None:
    """Remove features, those first that were used longest ago, until no more are left than ``most`` allows. They are
    made again where they are wanted again; a process that reads them meanwhile keeps them until it ends."""
    excess = sum(size for _, size, _ in _features()) - most()
    if excess > 0:
        _remove(excess)


def _remove(size: float) -> None:
    """Features of so many bytes or a little more."""
    for _, each, path in sorted(_features()):
        if size <= 0:
            break
        with suppress(OSError):  # another process may be doing the same
            path.unlink()
        size -= each


def _features() -> list[tuple[float, int, Path]]:
    """When each file of features was used last, its size, and where it is."""
    held: list[tuple[float, int, Path]] = []
    for path in shared.folder("features").glob("*/*.safetensors"):
        with suppress(OSError):
            stat = path.stat()
            held.append((stat.st_mtime, stat.st_size, path))
    return held


def is_whole(path: Path) -> bool:
    """Whether the tensors at ``path`` can be read and are as they were written."""
    return _stored(path) is not None


def _stored(path: Path) -> dict[str, Tensor] | None:
    """What is at ``path``; None where there is nothing or it is damaged. The tensors of a large file stay on disk and
    are read where they are looked at, so that more features can be worked with than fit into memory."""
    try:
        with safe_open(path, "pt") as stored:
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (no mapping)
            seal = (stored.metadata() or {}).get("seal")
    except (OSError, SafetensorError):
        return None
    if seal != _seal(tensors):
        return None
    size = sum(value.nbytes for value in tensors.values())  # the file itself may be gone by now
    return tensors if size >= MAPPED else {key: value.clone() for key, value in tensors.items()}


def _seal(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of names, types, shapes and every byte."""
    digest = hashlib.sha256()
    for key, value in sorted(tensors.items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def digest(images: Tensor) -> str:
    """sha256 of images, so that what is computed from them is shared by all who use the same ones."""
    return files.sha256(str(tuple(images.shape)).encode() + images.cpu().contiguous().numpy().tobytes())


def adversarial(key: Mapping[str, Any], images: Tensor, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Adversarial images for ``images`` and what goes with them, made once for each (encoder, images, threat, attack,
    seed) that ``key`` names."""
    full = {"version": ADVERSARIAL_VERSION, "images": digest(images), **key}
    return {name: tensor.to(images.device) for name, tensor in get_or_make("adversarial", full, make).items()}


def image_ids(ids: Sequence[str]) -> str:
    """sha256 of the ids of the images measured, in order."""
    return files.sha256("\n".join(ids))
