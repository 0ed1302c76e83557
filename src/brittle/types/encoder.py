"""Encoders: images in [0, 1] to features."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from brittle.core.errors import UsageError


class Features(NamedTuple):
    """What an encoder says of images: ``pooled`` [B, D] and ``grid`` [B, D, rows, cols]."""

    pooled: Tensor
    grid: Tensor


class Encoder(nn.Module):
    """A vision encoder: images [B,3,H,W] in [0,1] to Features. It normalises inside; no other code does.

    Args:
        dim: D, the width of both features.
        patch: edge in pixels of one cell of ``grid``.
        size: edge in pixels of the images it is used at.
        mean, std: the source's normalisation, 3 values each.
        about: what a result says of the weights: ``sha256``, ``licence``, ``parameters``, ``source``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, dim: int, patch: int, *, size: int, mean: Sequence[float], std: Sequence[float], about: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.dim, self.patch, self.size, self.about = dim, patch, size, dict(about)
        self.projector: nn.Module | None = (
            None  # what training put on top of ``pooled``, [B, D] to [B, P]; no part of Features
        )
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def normalise(self, images: Tensor) -> Tensor:
        """[0,1] images to what the network was trained on."""
        return (images - self.mean) / self.std

    def forward(self, images: Tensor) -> Features:
        raise NotImplementedError

    def at_layer(self, images: Tensor, index: int) -> Features:
        """What block or stage ``index`` (as Python counts) makes of images, before any norm; the width is the layer's
        own. UsageError where there is none."""
        raise UsageError(
            f"{self.label} has no layers to speak of; leave layer out, or choose a timm, hf, open_clip or file encoder"
        )

    def attention_at(self, images: Tensor, index: int) -> Tensor:
        """[B, heads, T, T] attention probabilities of layer ``index``, each row a token's. UsageError where not every
        token attends to every other."""
        raise UsageError(
            f"{self.label} has no attention to speak of; choose a vision transformer from timm, hf, open_clip or file"
        )

    @property
    def label(self) -> str:
        """What to call it in an error."""
        return str(self.about.get("source") or type(self).__name__)
