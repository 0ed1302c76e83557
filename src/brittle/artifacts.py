"""Trained or computed things on disk, shared by all runs: named by a hash of their origin, sealed with a sha256, remade when damaged."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from brittle import files, plan, probe, protocol
from brittle.errors import CellError
from brittle.plan import Cell
from brittle.progress import progress
from brittle.types import Batch, Encoder, Features, Task

FEATURES_VERSION = 1
HEADS_VERSION = 1
ADVERSARIAL_VERSION = 3
MAPPED = 2**20  # bytes; a process may hold some 65,000 mapped files, and small ones can as well be read


def keep(kind: str, key: Mapping[str, Any], make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
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
        raise CellError(f"{path} is damaged as soon as it is written; check the disk, or set BRITTLE_CACHE to another one")
    return found


def _stored(path: Path) -> dict[str, Tensor] | None:
    """What is at ``path``; None where there is nothing or it is damaged. The tensors of a large file stay on disk and are read where they
    are looked at, so that more features can be worked with than fit into memory."""
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


def _digest(images: Tensor) -> str:
    """sha256 of pictures, so that what is computed from them is shared by whoever shows the same ones."""
    return files.sha256(str(tuple(images.shape)).encode() + images.cpu().contiguous().numpy().tobytes())


def features(
    encoder: Encoder, weights: str, batches: Iterable[Batch], what: str, total: int, reads: Sequence[str] = Features._fields
) -> Iterator[tuple[Features, Tensor]]:
    """Frozen features (float16, on the CPU) and target of each batch, computed once for each (encoder, pictures).

    Args:
        weights: sha256 that stands for the encoder.
        batches: pictures, or one after the other the windows that the same pictures are seen in.
        what, total: what to call it, and how many pictures there are.
        reads: the parts wanted; the width of any other is 0, so that a linear probe does not fill the disk with grids.
    """
    with progress(what, total) as advance:
        last: Sequence[str] = ()
        for batch in batches:
            key = {"version": FEATURES_VERSION, "weights": weights, "images": _digest(batch.images), "reads": list(reads)}

            def make(images: Tensor = batch.images) -> dict[str, Tensor]:
                with torch.no_grad():
                    made = encoder(images)
                return {name: (part if name in reads else part[:, :0]).half() for name, part in made._asdict().items()}

            found = keep("features", key, make)
            advance(0 if batch.ids == last else len(batch.images))
            last = batch.ids
            yield Features(found["pooled"], found["grid"]), _held(batch.target)


def _held(target: Tensor) -> Tensor:
    """A batch's target as it is held while a head is fitted: masks (in two bytes a pixel) and maps on disk, as they would take as much
    memory as the features they belong to."""
    target = target.cpu()
    if target.dim() == 1:
        return target
    small = target if target.is_floating_point() else target.short()
    return keep("targets", {"version": FEATURES_VERSION, "target": _digest(small)}, lambda: {"target": small})["target"]


def head(cell: Cell, encoder: Encoder, task: Task, rule: protocol.Protocol, *, batch_size: int, workers: int, device: str) -> nn.Module:
    """The head of a cell, fitted on the train split's frozen features and chosen on the val split's; fitted once and kept. A task
    without labels has one ready."""
    if isinstance(task, protocol.LabelFree):
        return task.head_on(encoder).to(device)
    weights = plan.weights_of(cell.encoder)
    parts = {split: plan.dataset_of(cell.dataset, split) for split in ("train", "val")}
    outputs = protocol.classes_of(parts["train"], task)
    made = task.head(encoder.dim, outputs)
    key = {
        "version": [HEADS_VERSION, FEATURES_VERSION, probe.VERSION],
        "weights": weights,
        "data": [part.fingerprint for part in parts.values()],
        "task": str(plan.spec.complete("tasks", cell.task)),
        "seed": cell.seed,
        "protocol": rule.to_dict(),
    }

    def fit() -> dict[str, Tensor]:
        rows: dict[str, list[tuple[Features, Tensor]]] = {}
        for split, part in parts.items():
            whole = protocol.batches(part, range(len(part)), task, rule, batch_size, workers=workers, device=device)
            batches = (window for batch in whole for window in protocol.cut(batch, rule))
            what = f"features of {cell.encoder} on {split}"
            rows[split] = list(features(encoder, weights, batches, what, len(part), task.reads))
        fitted = probe.fit(task, encoder.dim, encoder.patch, outputs, rows["train"], rows["val"], seed=cell.seed, device=device)
        return fitted.state_dict()

    made.load_state_dict(keep("heads", key, fit), strict=True)
    return made.to(device)


def adversarial(key: Mapping[str, Any], images: Tensor, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Adversarial images for ``images`` and what goes with them, made once for each (encoder, pictures, threat, attack, seed) that ``key``
    names."""
    full = {"version": ADVERSARIAL_VERSION, "images": _digest(images), **key}
    return {name: tensor.to(images.device) for name, tensor in keep("adversarial", full, make).items()}


def image_ids(ids: Sequence[str]) -> str:
    """sha256 of the ids of the pictures measured, in order."""
    return files.sha256("\n".join(ids).encode())
