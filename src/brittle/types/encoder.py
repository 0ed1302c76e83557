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


class Look(NamedTuple):
    """Which of an encoder's features are looked at.

    Args:
        layers: those of these blocks or stages, counted as Python does, side by side; none for the encoder's output.
        norm: after the final norm, which the output always has been through.
    """

    layers: tuple[int, ...] = ()
    norm: bool = True

    def describe(self, parts: Sequence[str]) -> str:
        """In words, such as ``pooled and grid of layer -1 before the final norm``, of the ``parts`` looked at."""
        what = " and ".join(parts)
        if not self.layers:
            return what
        layers = ", ".join(map(str, self.layers))
        plural = "s" if len(self.layers) > 1 else ""
        return f"{what} of layer{plural} {layers} {'after' if self.norm else 'before'} the final norm"

    def width(self, dim: int) -> int:
        """The width of what is looked at, of an encoder of width ``dim``."""
        return dim * max(len(self.layers), 1)


FINAL = Look()
"""The encoder's output."""


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
    opaque = False
    """Whether a part of its graph cannot be kept without the rest."""

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

    @property
    def depth(self) -> int:
        """How many layers ``at_layers`` knows; 0 for none."""
        return 0

    def at_layers(self, images: Tensor, indices: Sequence[int], *, norm: bool = False) -> list[Features]:
        """What blocks or stages (as Python counts) make of images in one pass, before any norm or, with ``norm``, after
        the final one; the width is each layer's own. UsageError where there is none of them, or no such norm."""
        raise UsageError(
            f"{self.label} has no layers to speak of; leave layer out, or choose a timm, hf, open_clip or file encoder"
        )

    def at_layer(self, images: Tensor, index: int) -> Features:
        """What one block or stage makes of images, before any norm; see ``at_layers``."""
        return self.at_layers(images, [index])[0]

    def look(self, images: Tensor, look: Look) -> Features:
        """The features that are looked at, those of several layers side by side, [B, k D] and [B, k D, rows, cols].

        Raises:
            UsageError: as ``at_layers``; or their grids are of different sizes.
        """
        if not look.layers:
            return self(images)
        pooled, grids = zip(*self.at_layers(images, look.layers, norm=look.norm))
        if len({grid.shape[2:] for grid in grids}) > 1:
            sizes = ", ".join("x".join(map(str, grid.shape[2:])) for grid in grids)
            raise UsageError(f"layers {list(look.layers)} of {self.label} have grids of {sizes}; choose layers of one")
        return Features(torch.cat(pooled, 1), torch.cat(grids, 1))

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
