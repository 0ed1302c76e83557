"""Computed tensors on disk, shared by all runs: named by a hash of their origin, sealed with a sha256, made again when
damaged."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from brittle.core import files
from brittle.core.errors import CellError

ADVERSARIAL_VERSION = 3
MAPPED = 2**20  # bytes; a process may hold some 65,000 mapped files, and small ones can as well be read


def get_or_make(kind: str, key: Mapping[str, Any], make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors stored under ``key``, or what ``make`` gives, stored. Two processes never make the same one at once.

    Args:
        kind: ``features``, ``targets``, ``heads``, ``adversarial`` or ``universal``: the folder.
        key: everything the tensors depend on, as plain data.
    """
    name = files.sha256(json.dumps({"kind": kind, **key}, sort_keys=True).encode())
    path = files.cache() / kind / name[:2] / f"{name}.safetensors"
    found = _stored(path)
    if found is not None:
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        found = _stored(path)  # another process may have been quicker
        if found is None:
            made = {key: value.detach().cpu().contiguous().clone() for key, value in make().items()}
            files.write_whole(path, save(made, metadata={"seal": _seal(made)}))
            found = _stored(path)
    if found is None:
        raise CellError(
            f"{path} is damaged as soon as it is written; check the disk, or set BRITTLE_CACHE to another one"
        )
    return found


def _stored(path: Path) -> dict[str, Tensor] | None:
    """What is at ``path``; None where there is nothing or it is damaged. The tensors of a large file stay on disk and
    are read where they are looked at, so that more features can be worked with than fit into memory."""
    try:
        with safe_open(path, "pt") as stored:
            found = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (no mapping)
            seal = (stored.metadata() or {}).get("seal")
    except (OSError, SafetensorError):
        return None
    if seal != _seal(found):
        return None
    return found if path.stat().st_size >= MAPPED else {key: value.clone() for key, value in found.items()}


def _seal(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of names, types, shapes and every byte."""
    digest = hashlib.sha256()
    for key, value in sorted(tensors.items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def digest(images: Tensor) -> str:
    """sha256 of images, so that what is computed from them is shared by whoever shows the same ones."""
    return files.sha256(str(tuple(images.shape)).encode() + images.cpu().contiguous().numpy().tobytes())


def adversarial(key: Mapping[str, Any], images: Tensor, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Adversarial images for ``images`` and what goes with them, made once for each (encoder, images, threat, attack,
    seed) that ``key`` names."""
    full = {"version": ADVERSARIAL_VERSION, "images": digest(images), **key}
    return {name: tensor.to(images.device) for name, tensor in get_or_make("adversarial", full, make).items()}


def image_ids(ids: Sequence[str]) -> str:
    """sha256 of the ids of the images measured, in order."""
    return files.sha256("\n".join(ids).encode())
