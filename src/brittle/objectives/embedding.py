"""How far the representation moves: what EmbedAttack climbs, without a head or a label."""

from typing import Literal

import torch
from torch import Tensor

from brittle.errors import UsageError
from brittle.types import Batch, Encoder, Model, Objective

Distance = Literal["l2", "cosine"]
Tokens = Literal["cls", "grid", "all"]


def embedding(model: Model, batch: Batch, /, *, distance: Distance = "l2", tokens: Tokens = "cls") -> Objective:
    """Distance between the features of the clean and the attacked images (EmbedAttack, arXiv 2407.12588, 2024).

    Args:
        distance: ``l2``: mean squared difference over dimensions; ``cosine``: 1 - cosine similarity. Averaged over tokens.
        tokens: ``cls``: the pooled feature; ``grid``: the patch features; ``all``: both.

    The gradient of ``l2`` is exactly zero at the clean image, so the attack must start elsewhere.
    """
    encoder = model.encoder
    if encoder is None:
        raise UsageError("an embedding objective needs a model with an encoder, not a bare callable; pass an Encoder")
    with torch.no_grad():
        clean = _tokens(encoder, batch.images, tokens)

    def objective(images: Tensor, _progress: float) -> Tensor:
        moved = _tokens(encoder, images, tokens)
        if distance == "l2":
            return (moved - clean).square().mean((1, 2))
        return (1 - torch.nn.functional.cosine_similarity(moved, clean, dim=2)).mean(1)

    return objective


def _tokens(encoder: Encoder, images: Tensor, tokens: Tokens) -> Tensor:
    """[B, T, D]."""
    features = encoder(images)
    grid = features.grid.flatten(2).transpose(1, 2)
    match tokens:
        case "cls":
            return features.pooled[:, None]
        case "grid":
            return grid
        case "all":
            return torch.cat([features.pooled[:, None], grid], 1)
