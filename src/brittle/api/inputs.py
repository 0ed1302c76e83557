"""Whatever a user hands over, a callable or an encoder without a head, made into what is attacked and scored."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from brittle.api.objects import Objects
from brittle.attacks.parts.halving import split_on_oom
from brittle.core import budget
from brittle.core.errors import UsageError
from brittle.core.spec import Spec
from brittle.core.traits import predicted
from brittle.core.tree import tree
from brittle.evaluation.networks import as_model
from brittle.evaluation.scoring import targeted
from brittle.planning.identity import task_of
from brittle.planning.sweep import misfit
from brittle.tasks.parts.displacement import Displacement
from brittle.types import Attack, Batch, Encoder, Features, LabelFree, Model, Network, Objective, Target, Task, frozen
from brittle.types.model import stopped
from brittle.types.target import as_tensor, has_shape
from brittle.types.threat import Norm, Threat

Array = Tensor | ArrayLike
"""Images or a target as a user has them: a tensor, or what ``torch.as_tensor`` makes one of, such as a NumPy array or a
list of numbers."""


class Inputs(NamedTuple):
    """A model, the complete spec of an attack, what it is to attack, and within what."""

    model: Model
    attack: Spec
    batch: Batch
    threat: Threat


def inputs(
    model: Callable[[Tensor], Tensor] | Encoder,
    images: Array,
    target: Array | None,
    *,
    attack: str | Attack,
    objective: str | Callable[[Model, Batch], Objective] | None,
    task: str | Task,
    eps: float | str | None,
    norm: Norm,
    ids: Sequence[str] | None,
    objects: Objects,
) -> Inputs:
    """What was handed over, looked at; the arguments are those of ``brittle.attack``, and ``objects`` names the Python
    objects among them.

    Raises:
        UsageError: images or a target of another kind, a model whose prediction is none of the task's, or any spec that
            makes no sense.
    """
    if not callable(model):
        wanted = "a callable from images to predictions, or what brittle.load_encoder returns"
        raise UsageError(f"the model is {model!r:.80}; give {wanted}")
    pixels = _images(images)
    threat = Threat(norm, budget.check_eps(budget.default_eps(norm) if eps is None else eps, norm))
    task = objects.spec_of("tasks", task)
    part = tree("attacks", objects.climbing(objects.spec_of("attacks", attack), objective))
    meant = task_of(task)
    if why := misfit("attacks", str(part.spec), task):
        raise UsageError(f"{why}; the attack of {meant.name} is {meant.attack!r}")
    names = list(ids) if ids is not None else [str(i) for i in range(len(pixels))]
    if len(names) != len(pixels):
        raise UsageError(f"{len(names)} ids for {len(pixels)} images; give one for each")
    batch = Batch(pixels, pixels.new_zeros(len(pixels), dtype=torch.long), names)
    wrapped = _wrapped(model, meant)
    if pixels.dtype == torch.float64:
        _try_double(model, wrapped, pixels)
    if isinstance(meant, LabelFree):
        wrapped, batch = _label_free(meant, model, batch)
    elif target is not None and meant.target:
        given = meant.target.taken(_plain(target), pixels)
        batch = batch._replace(target=_with_void(wrapped, given, meant.target, pixels))
        _watch(wrapped, batch.target, meant.target)
        with frozen(wrapped):
            batch = next(targeted([batch], wrapped, True))
    elif not part.headless:
        plural = meant.target.plural if meant.target else "targets"
        raise UsageError(f"attack {part.spec.name!r} needs a target: {plural} of the {len(pixels)} images")
    return Inputs(wrapped, part.spec, batch, threat)


def _wrapped(model: Callable[[Tensor], Tensor] | Encoder, task: Task) -> Model:
    """What was handed over as the model of a task."""
    if isinstance(model, Network):
        if model.predicts != task.abilities:
            own = (
                f"{model.label} predicts {predicted(model.predicts)}, task {task.name!r} is {predicted(task.abilities)}"
            )
            raise UsageError(f"{own}; name the task that it is for")
        return as_model(model, task.seen_from(model.unit, model.align))
    return Model(task, None, model) if isinstance(model, Encoder) else Model(task, model)


def _plain(given: Array) -> Array:
    """A tensor that was made in inference mode as one that gradients may pass."""
    return given.clone() if isinstance(given, Tensor) and given.is_inference() else given


def _images(given: Array) -> Tensor:
    images = as_tensor("images", _plain(given))
    if not has_shape(images, "[B,3,H,W]"):
        raise UsageError(f"images are {list(images.shape)}; they must be float32 [B,3,H,W] in [0,1]")
    if not images.numel():
        raise UsageError(f"there are no images in {list(images.shape)}; give at least one (for checks 100 or more)")
    if images.dtype not in (torch.float32, torch.float64):
        why = "; half precision cannot hold the budget" if images.is_floating_point() else ""
        raise UsageError(f"images are {images.dtype}; give float32 in [0,1]{why}")
    if not (images.min() >= 0 and images.max() <= 1):
        low, high = images.min(), images.max()
        raise UsageError(f"images go from {low:.3g} to {high:.3g}; they must be in [0,1], the model normalises inside")
    return images


def _try_double(model: Callable[[Tensor], object], wrapped: Model, images: Tensor) -> None:
    """A model of float32 stops at images of float64, which few mean to give, with an error from deep inside torch."""
    try:
        with frozen(wrapped), torch.no_grad():
            model(images[:1].clone())
    except RuntimeError as error:
        why = " ".join(str(error).split())[:100]
        remedy = "give float32, or a model in float64"
        raise UsageError(f"images are torch.float64, at which the model stops ({why}); {remedy}") from None


def _label_free(task: LabelFree, model: Callable[[Tensor], Tensor] | Encoder, batch: Batch) -> tuple[Model, Batch]:
    """The model of a task that makes its target itself, and the batch with that."""
    if not isinstance(model, Encoder):
        what = f"task {task.name!r} needs an encoder, not a bare callable"
        raise UsageError(f"{what}; give one of brittle.load_encoder, or name another task")
    wrapped = Model(task, task.head_on(model), model)
    with frozen(wrapped):
        target = split_on_oom(lambda part: task.target_of(wrapped, part, attacked=True), torch.cat, batch)
        return wrapped, batch._replace(target=target)


def _with_void(model: Model, target: Tensor, kind: Target, images: Tensor) -> Tensor:
    """A target with its own void for the number that users write, which depends on how many classes there are: where it
    has such a number, the model is asked."""
    if kind.mark is None or target.max() < kind.mark(0):
        return target
    with frozen(model), torch.no_grad():
        seen = model(images[:1].clone())
    fits = isinstance(seen, Tensor) and has_shape(seen, kind.prediction.split()[-1])
    return kind.scored(target, seen.shape[1]) if fits else target


def _watch(model: Model, target: Tensor, kind: Target) -> None:
    """Have the first prediction refused where it is none of the task's, and with it classes that the model has no
    output for: in a loss they would be an error from deep inside torch, on a GPU the end of the process."""

    def look(_model: object, seen: tuple[Tensor], prediction: Any) -> None:
        handle.remove()
        count, wanted = len(seen[0]), kind.prediction
        fits = isinstance(prediction, Tensor) and has_shape(prediction, wanted.split()[-1])
        if not fits or len(prediction) != count:
            what = list(prediction.shape) if isinstance(prediction, Tensor) else f"a {type(prediction).__name__}"
            task = f"{model.task.name} needs {wanted}"
            raise UsageError(f"the model makes of {count} images {what}; {task}; wrap it, or name another task")
        outputs = prediction.shape[1] if kind.classes else 0
        if outputs and (value := kind.foreign(target, outputs)) is not None:
            void = "" if kind.mark is None else f"; {kind.mark(outputs)} is void"
            raise UsageError(f"target {value} is none of the model's {outputs} classes (0 to {outputs - 1}{void})")

    handle = model.register_forward_hook(look)


def displaced(given: Inputs, encoder: Encoder, at_once: int) -> Inputs:
    """An encoder without a head as a model that is scored by how far its pooled feature moves."""

    def seen(batch: Batch) -> Tensor:
        with stopped(batch.images, encoder):
            return encoder(batch.images.clone()).pooled

    with frozen(encoder), torch.no_grad():
        parts = (given.batch.rows(rows.tolist()) for rows in torch.arange(len(given.batch.ids)).split(at_once))
        target = torch.cat([split_on_oom(seen, torch.cat, part) for part in parts])

    def pooled(features: Features, _size: Sequence[int]) -> Tensor:
        return features.pooled

    model = Model(Displacement(), pooled, encoder)
    return given._replace(model=model, batch=given.batch._replace(target=target))
