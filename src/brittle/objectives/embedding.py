"""How far the representation moves: what EmbedAttack climbs, without a head or a label."""

from typing import Literal

import torch
from torch import Tensor

from brittle.core.traits import ObjectiveTraits
from brittle.types import Batch, Model, Objective, windows

Distance = Literal["l2", "cosine"]
Tokens = Literal["cls", "grid", "all", "attention"]
Layer = int | Literal["final"]


def embedding(
    model: Model, batch: Batch, /, *, distance: Distance = "l2", tokens: Tokens = "cls", layer: Layer = "final"
) -> Objective:
    """Distance between the features of the clean and the attacked images (EmbedAttack, arXiv 2407.12588, 2024).

    Args:
        distance: ``l2``: mean squared difference over dimensions; ``cosine``: 1 - cosine similarity. Averaged over
            tokens.
        tokens: ``cls``: the pooled feature; ``grid``: the patch features; ``all``: both; ``attention``: the share of
            its attention that each token gives to each other, in each head (after arXiv 2506.05394, 2025); of every
            window where the model has windows.
        layer: of which transformer block or stage, counted as in Python, before the final norm; ``final``: the
            encoder's output, or its last layer's attention.

    Raises:
        UsageError: the encoder has no such layer, or no attention.

    The gradient of ``l2`` is exactly zero at the clean image, so the attack must start elsewhere.
    """
    with torch.no_grad():
        clean = _tokens(model, batch.images, tokens, layer)

    def objective(images: Tensor, _progress: float) -> Tensor:
        moved = _tokens(model, images, tokens, layer)
        if distance == "l2":
            return (moved - clean).square().mean((1, 2))
        return (1 - torch.nn.functional.cosine_similarity(moved, clean, dim=2)).mean(1)

    return objective


def _tokens(model: Model, images: Tensor, tokens: Tokens, layer: Layer) -> Tensor:
    """[B, T, D], the windows' tokens one after the other; of attention [B, heads x T, T]."""

    def of(part: Tensor) -> Tensor:
        if tokens == "attention":
            return model.attend(part, -1 if layer == "final" else layer).flatten(1, 2)
        features = model.encode(part, None if layer == "final" else layer)
        grid = features.grid.flatten(2).transpose(1, 2)
        match tokens:
            case "cls":
                return features.pooled[:, None]
            case "grid":
                return grid
            case "all":
                return torch.cat([features.pooled[:, None], grid], 1)

    if not model.windowed(images):
        return of(images)
    return torch.cat([part for _, part in windows.over(of, images, model.window, model.stride)], 1)


TRAITS = ObjectiveTraits(sees="encoder")
