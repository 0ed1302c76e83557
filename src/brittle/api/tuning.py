"""Tune an encoder robustly and write it with its card."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brittle.api.loading import load_encoder
from brittle.api.world import world
from brittle.core import components, files
from brittle.core.errors import UsageError, unknown
from brittle.core.progress import say
from brittle.core.spec import Spec, parse
from brittle.core.traits import TuningTraits
from brittle.encoders.parts import cards
from brittle.evaluation.cache import image_ids
from brittle.evaluation.loading import classes_of
from brittle.evaluation.protocol import Protocol, at_size, preprocess
from brittle.evaluation.subset import subset
from brittle.planning.identity import dataset_of, task_of, weights_of
from brittle.results.store import Store
from brittle.types import Dataset, Encoder, Target
from brittle.types.target import STANDARD

FREE = 1.1  # what is written has to fit on the disk, and a little more


def finetune(
    method: str, encoder: str, dataset: str, *, output_dir: str | Path, seed: int = 0, limit: int | None = None
) -> Path:
    """Tune an encoder robustly and write ``encoder.safetensors`` with its card inside; continues from ``checkpoint`` in
    the same folder.

    Args:
        method: spec of a tuning method with its settings and those of the recipe (``brittle.tuning.parts.recipe``),
            such as ``deacl(steps=500, lr=1e-3)`` or ``deacl(preset=cifar, epochs=50)``. One that is supervised gets
            the data set's own targets; the others get none.
        limit: use only so many images of the train split, drawn by name and balanced over classes.

    Returns:
        The weights' path, usable as ``file:PATH``.

    Raises:
        UsageError: a spec that makes no sense, an empty train split, no targets that the method needs, no room on
            the disk for what is to be kept, or a folder that holds another tuning or into which one is running.
    """
    from brittle.api.watch import FINAL, Watch
    from brittle.tuning.parts.recipe import Recipe, recipe_of  # Lightning takes seconds to import
    from brittle.tuning.parts.source import Source
    from brittle.tuning.parts.training import train

    full, settings = split(method)
    recipe = recipe_of(settings)
    with world(seed), ExitStack() as claims:
        folder = files.expanded(output_dir)
        store = Store(folder)  # refuses a path that is a file
        base = components.canonical("encoders", encoder)
        data = dataset_of(dataset, "train")
        target = _target_of(full, dataset, data)
        teacher = load_encoder(encoder)
        chosen = _chosen(dataset, data, limit)
        names = [data.ids[place] for place in chosen]
        classes = classes_of(data, target)
        read = partial(_read, data, chosen, target, classes, teacher.size)
        source = Source(read, names, seed, classes)
        recipe = recipe_of({**settings, "batch": _batch(recipe, len(chosen))})
        _refuse_full(folder, teacher, recipe, len(chosen))
        origin: dict[str, Any] = {
            "method": str(full),
            "recipe": {key: value for key, value in vars(recipe).items() if value != getattr(Recipe(), key)},
            "base": base,
            "weights": weights_of(base),
            "data": data.fingerprint,
            "seed": seed,
            "image_ids_sha256": image_ids(names),
        }
        tuning = components.build("tuning", full, teacher, source)
        claims.enter_context(_alone(store))
        checkpoint = _checkpoint(folder, origin)
        used = {"dataset": components.canonical("datasets", dataset), "images": len(chosen)}
        labels = STANDARD["label"] if "label" in data.classes else None
        kinds = classes_of(data, labels)
        ask = partial(_labelled, dataset, labels, kinds, teacher.size) if labels else None
        watch = Watch(folder, recipe, len(chosen), {**origin, **used}, ask, kinds)
        if train(tuning, source, recipe, watch, what=full.name, checkpoint=checkpoint):
            watch.finish(tuning.student)
        return folder / FINAL


def _alone(store: Store) -> AbstractContextManager[None]:
    """Only one tuning at a time inside, in a folder; further processes of the same come in with its first."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return nullcontext()
    return store.claim("tuning", f"another tuning is running in {store.root}; wait for it, or name another folder")


def _read(
    data: Dataset, chosen: Sequence[int], kind: Target | None, classes: int, size: int, place: int
) -> tuple[Tensor, Tensor]:
    """An image that was chosen, and its target; where there is no kind of target nothing, so that a loss that reads it
    stops, and trains on nothing made up."""
    image, target = _square(data, chosen[place], kind, classes, size)
    return image, target if kind else torch.empty(0)


def _labelled(
    dataset: str, kind: Target, classes: int, size: int, split: str, count: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of the images and labels of a split, ``count`` of them at most, balanced over classes."""
    data = dataset_of(dataset, split)
    chosen = subset(data, count)
    for start in range(0, len(chosen), 64):
        rows = [_square(data, place, kind, classes, size) for place in chosen[start : start + 64]]
        images, labels = zip(*rows)
        yield torch.stack(images), torch.stack(labels)


def _chosen(dataset: str, data: Dataset, limit: int | None) -> Sequence[int]:
    """The places of the images to tune on."""
    chosen = subset(data, limit)
    if not chosen:
        raise UsageError(f"{dataset}: the train split is empty")
    return chosen


def _batch(recipe: Any, count: int) -> int:
    """Images of a step, where there may be fewer than a batch: as many as are shared evenly."""
    parts = recipe.devices * recipe.accumulate
    most = count // parts * parts
    if not most:
        raise UsageError(f"{count} images are not enough for {parts} parts of a batch (devices x accumulate)")
    if most < recipe.batch:
        say(f"a batch is of {most} images, not of {recipe.batch}: there are {count}")
    return min(recipe.batch, most)


def split(method: str) -> tuple[Spec, Mapping[str, Any]]:
    """A method's spec complete, and the settings of the recipe that stood in it or in the preset that it names.

    Raises:
        UsageError: unknown method, preset or setting, or a value that a method's setting does not allow.
    """
    from brittle.tuning.parts.recipe import NAMES

    given = parse(method)
    part = components.component("tuning", given.name)
    presets = part.traits.presets if isinstance(part.traits, TuningTraits) else {}
    settings: dict[str, Any] = dict(given.settings)
    name = str(settings.pop("preset", ""))
    if name and name not in presets:
        raise unknown(f"preset of {given.name!r} called", name, presets)
    settings = {**presets.get(name, {}), **settings}
    own = components.settings_of(part.function)
    for key in settings:
        if key not in NAMES and key not in own:
            raise unknown(f"setting of {given.name!r} called", key, [*own, *NAMES, "preset"])
    mine = {key: value for key, value in settings.items() if key in own}
    full = components.complete("tuning", Spec(given.name, given.argument, mine))
    return full, {key: value for key, value in settings.items() if key in NAMES}


def _refuse_full(folder: Path, encoder: Encoder, recipe: Any, count: int) -> None:
    """Refuse to begin what the disk has no room for: the snapshots, and the checkpoint twice while it is replaced."""
    size = sum(value.numel() * value.element_size() for value in encoder.state_dict().values())
    snapshots = recipe.often(recipe.save_every, count)
    needs = FREE * size * (snapshots + 1 + 2 * 4)  # a checkpoint has weights, their mean, and two moments
    home = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(home).free
    if needs > free:
        raise UsageError(
            f"{snapshots} snapshots and checkpoints take {needs / 1e9:.2f} GB, and {home} has {free / 1e9:.2f} GB "
            "free; give a larger save_every or another folder"
        )


def _checkpoint(folder: Path, origin: Mapping[str, Any]) -> Path:
    """The file that a run goes on from, the same for all whose weights are the same at each step. Encoders of another
    tuning in the folder are refused: the last of them would be lost, and the snapshots be of both."""
    from brittle.api.watch import FINAL

    mine = _same(json.loads(json.dumps(origin)))
    snapshots = (path for unit in ("epoch", "step") for path in folder.glob(f"{unit}-[0-9]*.safetensors"))
    for path in (folder / FINAL, *sorted(snapshots)):
        if not path.exists():
            continue
        found = cards.card(path) if cards.has_one(path) else {}
        if _same({key: found.get(key) for key in mine}) != mine:
            raise UsageError(f"{path} is of another tuning; name another folder, or move what is in this one")
    return folder / f"checkpoint-{files.sha256(json.dumps(mine, sort_keys=True).encode())[:12]}"


def _same(origin: Mapping[str, Any]) -> Mapping[str, Any]:
    """What decides the weights of each step."""
    from brittle.tuning.parts.recipe import ASIDE

    recipe = origin["recipe"] or {}
    return {**origin, "recipe": {key: value for key, value in recipe.items() if key not in ASIDE}}


def _target_of(method: Spec, dataset: str, data: Dataset) -> Target | None:
    """The kind of target that a method's batches must have."""
    traits = components.component("tuning", method.name).traits
    asked = traits.target if isinstance(traits, TuningTraits) else ""
    kind = None if isinstance(asked, str) else task_of(asked(**method.settings)).target
    wanted = kind.name if kind else asked
    if not isinstance(wanted, str) or not wanted:
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
