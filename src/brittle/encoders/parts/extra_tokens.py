"""Tokens that a vision transformer sees beside an image's own: weights by which it is steered while all others stay."""

from collections.abc import Sequence
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from brittle.core.errors import UsageError
from brittle.encoders.parts.timm_network import TimmEncoder
from brittle.encoders.parts.wrappers import spatial
from brittle.types import Encoder

KEY = "extra_tokens"
"""Their name among an encoder's weights."""


class Extended(TimmEncoder):
    """A timm vision transformer with more tokens, without a position, between those before the patches and the patches.
    Neither ``pooled`` nor ``grid`` contains them.

    Args:
        encoder: whose network it uses, not a copy.
        tokens: [T, D].
    """

    def __init__(self, encoder: TimmEncoder, tokens: Tensor) -> None:
        mean, std = (part.flatten().tolist() for part in (encoder.mean, encoder.std))
        facts: dict[str, Any] = {"size": encoder.size, "mean": mean, "std": std, "native": encoder.native}
        super().__init__(encoder.network, encoder.patch, layer=encoder.level, about=encoder.about, **facts)
        self.extra_tokens = nn.Parameter(tokens)
        self.own = self.prefix
        self.prefix += len(tokens)
        self.about["parameters"] = self.about.get("parameters", 0) + tokens.numel()

    def _split(self, padded: Tensor, places: Sequence[int], **how: bool) -> list[tuple[Tensor, Tensor | None]]:
        network: Any = self.network
        whole = self._whole_patches(padded)
        first = network.patch_drop(network._pos_embed(network.patch_embed(whole)))
        extra = self.extra_tokens.expand(len(first), -1, -1)
        tokens = network.norm_pre(torch.cat([first[:, : self.own], extra, first[:, self.own :]], 1))
        shape = network.patch_embed.dynamic_feat_size(whole.shape[-2:])
        found: dict[int, tuple[Tensor, Tensor | None]] = {}
        for place, block in enumerate(network.blocks[: max(places) + 1]):
            tokens = block(tokens)
            if place in places:
                seen = network.norm(tokens) if how["norm"] else tokens
                found[place] = spatial(seen[:, self.prefix :], *shape), seen[:, : self.prefix]
        return [found[place] for place in places]


def extended(encoder: Encoder, tokens: Tensor) -> Encoder:
    """A transformer with more tokens [T, D], which shares its other weights.

    Raises:
        UsageError: it is none of timm's plain vision transformers, or not of that width, or has such tokens already.
    """
    if isinstance(encoder, Extended):
        raise UsageError(f"{encoder.label} has extra tokens already; take the encoder that it was tuned from")
    if not isinstance(encoder, TimmEncoder) or not isinstance(encoder.network, VisionTransformer):
        raise UsageError(
            f"{encoder.label} takes no extra tokens; choose a plain vision transformer, such as timm:vit_..., a file: "
            "of one as published, or embedded:"
        )
    if encoder.pooling != "tokens":
        raise UsageError(f"{encoder.label} pools by itself, which leaves extra tokens out; leave pooled=native out")
    if tokens.dim() != 2 or tokens.shape[1] != encoder.dim:
        raise UsageError(f"{encoder.label} has tokens of width {encoder.dim}, got extra ones of {list(tokens.shape)}")
    return Extended(encoder, tokens)
