"""How far the representation moves: what EmbedAttack climbs, without a head or a label."""

from typing import Literal

import torch
from torch import Tensor

from brittle import windows
from brittle.types import Batch, Model, Objective

Distance = Literal["l2", "cosine"]
Tokens = Literal["cls", "grid", "all"]


def embedding(model: Model, batch: Batch, /, *, distance: Distance = "l2", tokens: Tokens = "cls") -> Objective:
    """Distance between the features of the clean and the attacked images (EmbedAttack, arXiv 2407.12588, 2024).

    Args:
        distance: ``l2``: mean squared difference over dimensions; ``cosine``: 1 - cosine similarity. Averaged over tokens.
        tokens: ``cls``: the pooled feature; ``grid``: the patch features; ``all``: both; of every window where the model has windows.

    The gradient of ``l2`` is exactly zero at the clean image, so the attack must start elsewhere.
    """
    with torch.no_grad():
        clean = _tokens(model, batch.images, tokens)

    def objective(images: Tensor, _progress: float) -> Tensor:
        moved = _tokens(model, images, tokens)
        if distance == "l2":
            return (moved - clean).square().mean((1, 2))
        return (1 - torch.nn.functional.cosine_similarity(moved, clean, dim=2)).mean(1)

    return objective


def _tokens(model: Model, images: Tensor, tokens: Tokens) -> Tensor:
    """[B, T, D], the windows' tokens one after the other."""

    def of(part: Tensor) -> Tensor:
        features = model.encode(part)
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
