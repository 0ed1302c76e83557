"""Tune an encoder robustly and write it with its card."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brittle.api.loading import load_dataset, load_encoder
from brittle.core import components, files
from brittle.core.errors import UsageError
from brittle.core.spec import Spec
from brittle.core.traits import TuningTraits
from brittle.evaluation.loading import classes_of
from brittle.evaluation.machine import environment
from brittle.evaluation.protocol import Protocol, preprocess
from brittle.planning.identity import weights_of
from brittle.results.store import Store
from brittle.types import Batch, Dataset, Encoder, Target
from brittle.types.target import STANDARD


def finetune(
    method: str,
    encoder: str,
    dataset: str,
    *,
    output_dir: str | Path,
    batch_size: int = 64,
    seed: int = 0,
    limit: int | None = None,
) -> Path:
    """Tune an encoder robustly and write ``encoder.safetensors`` with its card; continues from ``checkpoint`` in the
    same folder.

    Args:
        method: spec of a tuning method, such as ``deacl(steps=500)``. One that is supervised gets the data set's own
            targets; the others get none.
        limit: use only the first images of the train split.

    Returns:
        The weights' path, usable as ``file:PATH``.

    Raises:
        UsageError: a spec that makes no sense, an empty train split, or one without the targets that the method needs.
    """
    from safetensors.torch import save

    from brittle.tuning.parts.training import Batches, shuffled  # Lightning takes seconds to import

    folder = Path(output_dir)
    Store(folder)  # refuses a path that is a file
    full = components.complete("tuning", method)
    base = components.canonical("encoders", encoder)
    data = load_dataset(dataset, "train")
    target = _target_of(full, dataset, data)
    source = load_encoder(encoder)
    source.projector = None  # once it is tuned, that is another encoder's
    count = min(limit or len(data), len(data))
    if count < 1:
        raise UsageError(f"{dataset}: the train split is empty")
    size = min(batch_size, count)
    origin = {"method": str(full), "base": base, "weights": weights_of(base), "data": data.fingerprint}
    settings = {**origin, "batch": size, "seed": seed}
    full = _resumable(full, folder, settings)
    rule, classes = Protocol(source.size), classes_of(data, target)

    def draw(step: int) -> Batch:
        order = shuffled(count, size, seed, step)
        rows = [_square(*preprocess(data[i], target, rule), source.size) for i in order]
        images, targets = (torch.stack(part) for part in zip(*rows))
        none = torch.empty(len(order), 0)  # a loss that reads it stops, and trains on nothing made up
        return Batch(images, targets if target else none, [data.ids[i] for i in order])

    tuned: Encoder = components.build("tuning", full, source, Batches(draw, classes), seed)
    weights = save({key: value.contiguous() for key, value in tuned.cpu().state_dict().items()})
    path = folder / "encoder.safetensors"
    used = {"dataset": components.canonical("datasets", dataset), "images": count}
    card = {**settings, **used, "sha256": files.sha256(weights), "made_by": environment()["versions"]}
    files.write_whole(path, weights)
    files.write_whole(path.with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())
    return path


def _resumable(method: Spec, folder: Path, settings: Mapping[str, Any]) -> Spec:
    """The method with a checkpoint in ``folder`` that belongs to these settings, where it can have one and has none."""
    if method.settings.get("checkpoint", "-"):
        return method
    name = f"checkpoint-{files.sha256(json.dumps(settings, sort_keys=True).encode())[:12]}"
    return Spec(method.name, method.argument, {**method.settings, "checkpoint": str(folder / name)})


def _target_of(method: Spec, dataset: str, data: Dataset) -> Target | None:
    """The kind of target that a method's batches must have."""
    traits = components.component("tuning", method.name).traits
    wanted = traits.target if isinstance(traits, TuningTraits) else ""
    if not wanted:
        return None
    if wanted not in data.classes:
        has = ", ".join(data.classes)
        raise UsageError(f"{method.name} is supervised by the {wanted} of each image; {dataset} has only {has}")
    return STANDARD[wanted]


def _square(image: Tensor, target: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The centre of an image [3,H,W], and the same part of its target where that has pixels."""
    if target.dim() > 1:
        whole = target.reshape(1, -1, *target.shape[-2:]).float()
        whole = torch.nn.functional.interpolate(whole, size=image.shape[-2:], mode="nearest").to(target.dtype)
        target = whole.reshape(*target.shape[:-2], *image.shape[-2:])
    top, left = (image.shape[-2] - size) // 2, (image.shape[-1] - size) // 2
    place = (..., slice(top, top + size), slice(left, left + size))
    return image[place], target[place] if target.dim() > 1 else target
