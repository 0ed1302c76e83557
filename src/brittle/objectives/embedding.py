"""How far the representation moves: what EmbedAttack climbs, without a label."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from brittle.core.spec import Value
from brittle.core.traits import ObjectiveTraits
from brittle.types import FINAL, Batch, Look, Model, Objective, windows

Distance = Literal["l2", "cosine"]
Tokens = Literal["head", "cls", "grid", "all", "attention"]
Layer = int | Literal["final"]


def embedding(
    model: Model, batch: Batch, /, *, distance: Distance = "l2", tokens: Tokens = "head", layer: Layer = "final"
) -> Objective:
    """Distance between the features of the clean and the attacked images (EmbedAttack, arXiv 2407.12588, 2024).

    Args:
        distance: ``l2``: mean squared difference over dimensions; ``cosine``: 1 - cosine similarity. Averaged over
            tokens.
        tokens: ``head``: what the model's head reads: the pooled feature, the patch features, or the mean of both
            distances where it reads both; ``cls``: the pooled feature; ``grid``: the patch features; ``all``: both,
            each token alike; ``attention``: the share of its attention that each token gives to each other, in each
            head (after arXiv 2506.05394, 2025); of every window where the model has windows.
        layer: of which transformer block or stage, counted as in Python, before the final norm; ``final``: the
            encoder's output (of ``head``, the layers that it reads), or its last layer's attention.

    Raises:
        UsageError: the encoder has no such layer, or no attention.

    The gradient of ``l2`` is exactly zero at the clean image, so the attack must start elsewhere.
    """
    with torch.no_grad():
        clean = _tokens(model, batch.images, tokens, layer)

    def objective(images: Tensor, _progress: float) -> Tensor:
        moved = _tokens(model, images, tokens, layer)
        each = [_distance(now, before, distance) for now, before in zip(moved, clean)]
        return torch.stack(each).mean(0)

    return objective


def _distance(moved: Tensor, clean: Tensor, distance: Distance) -> Tensor:
    """[B] of tokens [B, T, D]."""
    if distance == "l2":
        return (moved - clean).square().mean((1, 2))
    return (1 - torch.nn.functional.cosine_similarity(moved, clean, dim=2)).mean(1)


def _tokens(model: Model, images: Tensor, tokens: Tokens, layer: Layer) -> list[Tensor]:
    """[B, T, D] of each part that is compared by itself, the windows' tokens one after the other; of attention [B,
    heads x T, T]."""
    own = model.look if tokens == "head" else FINAL
    look = own if layer == "final" else Look((layer,), norm=False)

    def of(part: Tensor) -> list[Tensor]:
        if tokens == "attention":
            return [model.attend(part, -1 if layer == "final" else layer).flatten(1, 2)]
        features = model.encode(part, look)
        parts = {"pooled": features.pooled[:, None], "grid": features.grid.flatten(2).transpose(1, 2)}
        match tokens:
            case "head":
                return [parts[name] for name in model.reads]
            case "cls":
                return [parts["pooled"]]
            case "grid":
                return [parts["grid"]]
            case "all":
                return [torch.cat(list(parts.values()), 1)]

    if not model.windowed(images):
        return of(images)
    opaque = model.encoder is not None and model.encoder.opaque
    each = [part for _, part in windows.over(of, images, model.window, model.stride, opaque=opaque)]
    return [torch.cat(parts, 1) for parts in zip(*each)]


def _reads(settings: Mapping[str, Value]) -> bool:
    return settings["tokens"] == "head"


TRAITS = ObjectiveTraits(version=2, sees="encoder", reads=_reads)
