"""Tune an encoder robustly and write it with its card."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brittle.api.loading import load_dataset, load_encoder
from brittle.api.world import world
from brittle.core import components, files
from brittle.core.errors import UsageError
from brittle.core.spec import Spec
from brittle.core.traits import TuningTraits
from brittle.evaluation.cache import image_ids
from brittle.evaluation.loading import classes_of
from brittle.evaluation.machine import environment
from brittle.evaluation.protocol import Protocol, at_size, preprocess
from brittle.evaluation.subset import subset
from brittle.planning.identity import task_of, weights_of
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
        limit: use only so many images of the train split, drawn by name and balanced over classes.

    Returns:
        The weights' path, usable as ``file:PATH``.

    Raises:
        UsageError: a spec that makes no sense, an empty train split or batch, or no targets that the method
            needs.
    """
    from brittle.tuning.parts.training import Batches, shuffled  # Lightning takes seconds to import

    with world(seed):
        folder = files.expanded(output_dir)
        Store(folder)  # refuses a path that is a file
        full = components.complete("tuning", method)
        base = components.canonical("encoders", encoder)
        data = load_dataset(dataset, "train")
        target = _target_of(full, dataset, data)
        source = load_encoder(encoder)
        source.projector = None  # once it is tuned, that is another encoder's
        chosen = subset(data, limit)
        count = len(chosen)
        if count < 1:
            raise UsageError(f"{dataset}: the train split is empty")
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}; give 1 or more")
        size = min(batch_size, count)
        origin = {"method": str(full), "base": base, "weights": weights_of(base), "data": data.fingerprint}
        drawn = image_ids([data.ids[place] for place in chosen])
        settings = {**origin, "batch": size, "seed": seed, "image_ids_sha256": drawn}
        full = _resumable(full, folder, settings)
        classes = classes_of(data, target)

        def draw(step: int) -> Batch:
            order = [chosen[place] for place in shuffled(count, size, seed, step)]
            rows = [_square(data, i, target, classes, source.size) for i in order]
            images, targets = (torch.stack(part) for part in zip(*rows))
            none = torch.empty(len(order), 0)  # a loss that reads it stops, and trains on nothing made up
            return Batch(images, targets if target else none, [data.ids[i] for i in order])

        tuned: Encoder = components.build("tuning", full, source, Batches(draw, classes), seed)
        used = {"dataset": components.canonical("datasets", dataset), "images": count}
        return _written(tuned, folder / "encoder.safetensors", {**settings, **used})


def _written(tuned: Encoder, path: Path, origin: Mapping[str, Any]) -> Path:
    """``path``, where the weights now are, with a card beside them that says what they came from."""
    from safetensors.torch import save

    weights = save({key: value.contiguous() for key, value in tuned.cpu().state_dict().items()})
    card = {**origin, "sha256": files.sha256(weights), "made_by": environment()["versions"]}
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
    kinds = {**STANDARD, **{kind.name: kind for name in components.names("tasks") if (kind := task_of(name).target)}}
    if wanted not in kinds:
        raise UsageError(f"{method.name} asks for {wanted!r}, which is no kind of target; there is {', '.join(kinds)}")
    return kinds[wanted]


def _square(data: Dataset, index: int, kind: Target | None, classes: int, size: int) -> tuple[Tensor, Tensor]:
    """The centre of an image [3,size,size], and the same part of its target where that has pixels."""
    sample = data[index]
    if kind:
        whole = kind.prepared(sample.target(kind), sample.image.shape[-2:], classes, data.ids[index])
        sample = sample._replace(targets={kind.name: whole})
    image, target = preprocess(sample, kind, Protocol(size))
    target = at_size(target[None], image.shape[-2:])[0] if target.dim() > 1 else target
    top, left = (image.shape[-2] - size) // 2, (image.shape[-1] - size) // 2
    place = (..., slice(top, top + size), slice(left, left + size))
    return image[place], target[place] if target.dim() > 1 else target
