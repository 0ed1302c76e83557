"""Anything a user can hand over, a callable or an encoder without a head, made into what the house attacks and scores."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from brittle import plan, protocol, spec
from brittle.errors import UsageError
from brittle.threat import Norm, Threat
from brittle.types import Batch, Encoder, Features, Model, Task, frozen, most_damaged

Array = Tensor | ArrayLike
"""Images or a target as a user has them: a tensor, or what ``torch.as_tensor`` makes one of, such as a NumPy array or a list of numbers."""


class Bare(NamedTuple):
    """A model, the complete spec of an attack, what it is to attack, and within what."""

    model: Model
    attack: spec.Spec
    batch: Batch
    threat: Threat


class Kind(NamedTuple):
    """What targets of a kind are called, their shape, what makes it of others, their type, what that means, and the prediction for them.
    A letter in a shape stands for any size."""

    name: str
    shape: str
    remedy: str
    dtype: torch.dtype
    values: str
    prediction: str


KINDS = {
    "label": Kind(
        "labels", "[B]", "squeeze(1) of [B,1], argmax(1) of one-hot rows", torch.long, "whole numbers, a class each", "logits [B,C]"
    ),
    "mask": Kind("masks", "[B,H,W]", "squeeze(1) of [B,1,H,W]", torch.long, "whole numbers, a class each", "logits [B,C,H,W]"),
    "depth": Kind(
        "depth maps",
        "[B,1,H,W]",
        "unsqueeze(1) of [B,H,W]",
        torch.float32,
        "metres in floating point (whole numbers are often millimetres)",
        "metres [B,1,H,W]",
    ),
}


def bare(
    model: Callable[[Tensor], Tensor] | Encoder,
    images: Array,
    target: Array | None,
    *,
    attack: str,
    task: str,
    eps: float | str,
    norm: Norm,
    ids: Sequence[str] | None = None,
) -> Bare:
    """What was handed over, looked at; the arguments are those of ``brittle.attack``.

    Raises:
        UsageError: images or a target of another kind, a model whose prediction is none of the task's, or any spec that makes no sense.
    """
    if not callable(model):
        raise UsageError(f"the model is {model!r:.80}; give a callable from images to predictions, or what brittle.load_encoder returns")
    pictures = _images(images)
    threat = Threat(norm, plan.check_eps(eps, norm))
    made: Task = spec.build("tasks", task)
    full = spec.complete("attacks", attack)
    if misfit := next(_misfits("attacks", str(full), made.name), ""):
        raise UsageError(f"{misfit}; the attack of {made.name} is {made.attack!r}")
    names = list(ids) if ids is not None else [str(i) for i in range(len(pictures))]
    if len(names) != len(pictures):
        raise UsageError(f"{len(names)} ids for {len(pictures)} images; give one for each")
    batch = Batch(pictures, pictures.new_zeros(len(pictures), dtype=torch.long), names)
    wrapped = Model(made, None, model) if isinstance(model, Encoder) else Model(made, model)
    if pictures.dtype == torch.float64:
        _try_double(model, wrapped, pictures)
    if isinstance(made, protocol.LabelFree):
        wrapped, batch = _label_free(made, model, batch)
        return Bare(wrapped, full, batch, threat)
    headless = getattr(spec.module("attacks", full.name), "HEADLESS", False)
    if target is None and not headless:
        raise UsageError(f"attack {full.name!r} needs a target: labels, masks or depth of the {len(pictures)} images")
    if target is not None:
        batch = batch._replace(target=_target(target, KINDS[made.target], pictures))
        _watch(wrapped, batch.target, KINDS[made.target])
    return Bare(wrapped, full, batch, threat)


def _tensor(name: str, given: Any) -> Tensor:
    try:
        return torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(
            f"{name} are a {type(given).__name__} that makes no tensor; give one tensor (torch.stack makes it of many)"
        ) from None


def _shaped(tensor: Tensor, shape: str) -> bool:
    """Whether a tensor has a shape such as ``[B,1,H,W]``."""
    sizes = shape.strip("[]").split(",")
    return tensor.dim() == len(sizes) and all(str(there) == size for there, size in zip(tensor.shape, sizes) if size.isdigit())


def _images(given: Array) -> Tensor:
    images = _tensor("images", given)
    if not _shaped(images, "[B,3,H,W]"):
        raise UsageError(f"images are {list(images.shape)}; they must be float32 [B,3,H,W] in [0,1]")
    if not images.numel():
        raise UsageError(f"there are no images in {list(images.shape)}; give at least one (for checks 100 or more)")
    if images.dtype not in (torch.float32, torch.float64):
        why = "; half precision cannot hold the budget" if images.is_floating_point() else ""
        raise UsageError(f"images are {images.dtype}; give float32 in [0,1]{why}")
    if not (images.min() >= 0 and images.max() <= 1):
        raise UsageError(f"images go from {images.min():.3g} to {images.max():.3g}; they must be in [0,1], the model normalises inside")
    return images


def _try_double(model: Callable[[Tensor], object], wrapped: Model, images: Tensor) -> None:
    """A model of float32 stops at images of float64, which few mean to give, with an error of its innards."""
    try:
        with frozen(wrapped), torch.no_grad():
            model(images[:1])
    except RuntimeError as error:
        why = " ".join(str(error).split())[:100]
        raise UsageError(f"images are torch.float64, at which the model stops ({why}); give float32, or a model in float64") from None


def _target(given: Array, kind: Kind, images: Tensor) -> Tensor:
    """A target of the house's own type, where the images are."""
    target = _tensor(kind.name, given)
    if not _shaped(target, kind.shape):
        raise UsageError(f"{kind.name} are {list(target.shape)}; they must be {kind.shape}: {kind.remedy}")
    if len(target) != len(images):
        raise UsageError(f"{len(target)} targets for {len(images)} images; give one for each")
    if target.is_complex() or target.is_floating_point() != kind.dtype.is_floating_point:
        raise UsageError(f"{kind.name} are {target.dtype}; they must be {kind.values}")
    return target.to(images.device, kind.dtype)


def _misfits(kind: str, text: str, task: str) -> Iterator[str]:
    """What in a spec is not for a task, whether it was written or is a default."""
    full = spec.complete(kind, text)
    only: Sequence[str] | None = getattr(spec.module(kind, full.name), "TASKS", None)
    if only is not None and task not in only:
        yield f"{kind.removesuffix('s')} {full.name!r} is for {', '.join(only)}, not {task}"
    for key, value in full.settings.items():
        for inner in spec.nested(key, value):
            yield from _misfits(spec.kind_of(key), inner, task)


def _label_free(task: protocol.LabelFree, model: Callable[[Tensor], Tensor] | Encoder, batch: Batch) -> tuple[Model, Batch]:
    """The model of a task that makes its target itself, and the batch with that."""
    if not isinstance(model, Encoder):
        raise UsageError(
            f"task {task.name!r} needs an encoder, not a bare callable; give one of brittle.load_encoder, or name another task"
        )
    wrapped = Model(task, task.head_on(model), model)
    with frozen(wrapped):
        return wrapped, batch._replace(target=task.positives(wrapped, batch, attacked=True))


def _watch(model: Model, target: Tensor, kind: Kind) -> None:
    """Have the first prediction refused where it is none of the task's, and with it labels and masks that the model has no output for: in
    a loss they would be an error of its innards, on a GPU the end of it."""

    def look(_model: object, seen: tuple[Tensor], prediction: Any) -> None:
        handle.remove()
        count, wanted = len(seen[0]), kind.prediction
        if not (isinstance(prediction, Tensor) and _shaped(prediction, wanted.split()[-1]) and len(prediction) == count):
            what = list(prediction.shape) if isinstance(prediction, Tensor) else f"a {type(prediction).__name__}"
            raise UsageError(f"the model makes of {count} images {what}; {model.task.name} needs {wanted}; wrap it, or name another task")
        outputs = prediction.shape[1]
        if not target.is_floating_point() and (value := protocol.foreign(target, outputs)) is not None:
            raise UsageError(f"target {value} is none of the model's {outputs} classes (0 to {outputs - 1}; 255 is void in a mask)")

    handle = model.register_forward_hook(look)


def moved(given: Bare, encoder: Encoder, at_once: int) -> Bare:
    """An encoder without a head as a model that is scored by how far its pooled feature moves."""
    with frozen(encoder), torch.no_grad():
        target = torch.cat([encoder(part).pooled for part in given.batch.images.split(at_once)])
    model = Model(Displacement(), lambda features, _size: features.pooled, encoder)
    return given._replace(model=model, batch=given.batch._replace(target=target))


class Displacement:
    """What an encoder alone is scored by. Target and prediction: the pooled feature [B, D] of the clean and of the seen picture.
    Statistics: ``moved``, its distance as a share of the clean one's length, and ``images``."""

    name, target, attack = "displacement", "feature", "embed"
    headline, higher_is_better = "moved", False
    proportions: Mapping[str, tuple[str, str]] = {}
    shares: Sequence[str] = ()
    reads: Sequence[str] = Features._fields

    def head(self, dim: int, outputs: int) -> nn.Module:
        raise UsageError("an encoder's displacement needs no head")

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).square().mean(1)

    def right(self, prediction: Tensor, target: Tensor) -> None:
        return None

    def agreement(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.loss(prediction, target), nn.functional.cosine_similarity(prediction, target).clamp(min=0)

    def score(self, prediction: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        distance = (prediction.double() - target.double()).norm(dim=1) / target.double().norm(dim=1).clamp(min=1e-12)
        return {"moved": distance, "images": torch.ones_like(distance)}

    def damage(self, statistics: Mapping[str, Tensor]) -> Tensor:
        return statistics["moved"]

    def worst(self, candidates: Mapping[str, Tensor]) -> Tensor:
        return most_damaged(self, candidates)

    def summarise(self, total: Mapping[str, Tensor]) -> dict[str, float]:
        return {"moved": (total["moved"] / total["images"]).item()}
