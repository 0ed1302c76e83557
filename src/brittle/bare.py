"""Anything a user can hand over, a callable or an encoder without a head, made into what the house attacks and scores."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from brittle import plan, protocol, spec
from brittle.errors import UsageError
from brittle.threat import Norm, Threat
from brittle.types import Batch, Encoder, Features, Model, frozen, most_damaged


class Bare(NamedTuple):
    """A model, the complete spec of an attack, what it is to attack, and within what."""

    model: Model
    attack: spec.Spec
    batch: Batch
    threat: Threat


def bare(
    model: Callable[[Tensor], Tensor] | Encoder,
    images: Tensor,
    target: Tensor | None,
    *,
    attack: str,
    task: str,
    eps: float | str,
    norm: Norm,
    ids: Sequence[str] | None = None,
) -> Bare:
    """What was handed over, looked at; the arguments are those of ``brittle.attack``.

    Raises:
        UsageError: images outside [0,1] or of another shape, a target that the model has no output for, or any spec that makes no sense.
    """
    if images.dim() != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise UsageError(f"images are {images.dtype} {tuple(images.shape)}; they must be float [B,3,H,W] in [0,1]")
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        raise UsageError(f"images go from {images.min():.3g} to {images.max():.3g}; they must be in [0,1], the model normalises inside")
    threat = Threat(norm, plan.check_eps(eps))
    made = spec.build("tasks", task)
    full = spec.complete("attacks", attack)
    if not plan.fits(attack, made.name):
        raise UsageError(f"attack {full.name!r} is not for {made.name}; try {made.attack!r}")
    wrapped = Model(made, None, model) if isinstance(model, Encoder) else Model(made, model)
    names = list(ids) if ids is not None else [str(i) for i in range(len(images))]
    if len(names) != len(images):
        raise UsageError(f"{len(names)} ids for {len(images)} images; give one for each")
    headless = getattr(spec.module("attacks", full.name), "HEADLESS", False)
    if target is None and not headless:
        raise UsageError(f"attack {full.name!r} needs a target: labels, masks or depth of the {len(images)} images")
    if target is not None and len(target) != len(images):
        raise UsageError(f"{len(target)} targets for {len(images)} images; give one for each")
    if target is not None and not target.is_floating_point():
        _watch_range(wrapped, target)
    return Bare(
        wrapped, full, Batch(images, target if target is not None else images.new_zeros(len(images), dtype=torch.long), names), threat
    )


def _watch_range(model: Model, target: Tensor) -> None:
    """Have the first prediction refuse labels and masks that the model has no output for: in a loss they would be an error of its innards,
    on a GPU the end of it."""

    def look(_model: object, _images: object, prediction: Tensor) -> None:
        handle.remove()
        outputs = prediction.shape[1]
        if (value := protocol.foreign(target, outputs)) is not None:
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
