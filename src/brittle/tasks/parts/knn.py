"""Weighted nearest neighbours on frozen features, smooth enough to be climbed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from brittle.types import Features, Memory

NEIGHBOURS = 20
TEMPERATURE = 0.07
REST = 1e-4  # what all images have of the vote beside the neighbours


class NearestNeighbours(Memory):
    """Logits [B, C]: the logarithm of each class's share of the votes of the 20 training images whose pooled features
    have the highest cosine with the image's, each with a weight exp(cosine / .07) (DINO: Caron et al. 2021).

    The other training images vote too, with a weight that counts for 1e-4 of all: where the neighbours all agree, their
    vote alone has no slope at all, and an attack would stand still in front of a head that is not robust.

    Args:
        outputs: C, the number of classes.
    """

    bank: Tensor
    label: Tensor

    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.register_buffer("bank", torch.zeros(0, dim, dtype=torch.float16))
        self.register_buffer("label", torch.zeros(0, dtype=torch.int64))

    def memorise(self, rows: Iterable[tuple[Features, Tensor]]) -> None:
        pairs = [(nn.functional.normalize(features.pooled.float()).half(), label.long()) for features, label in rows]
        self.bank, self.label = (torch.cat(parts).to(self.bank.device) for parts in zip(*pairs))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name in ("bank", "label"):  # as many images as there are
            if f"{prefix}{name}" in state_dict:
                setattr(self, name, torch.empty_like(state_dict[f"{prefix}{name}"], device=self.bank.device))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def forward(self, features: Features, _size: Sequence[int]) -> Tensor:
        pooled = nn.functional.normalize(features.pooled)
        cosine = pooled @ self.bank.to(pooled.dtype).T
        near, index = cosine.topk(min(NEIGHBOURS, cosine.shape[1]))
        best = near[:, :1].detach()  # a factor common to all votes, taken out so that none overflows
        votes = pooled.new_zeros(len(pooled), self.outputs)
        few = votes.scatter_add(1, self.label[index], ((near - best) / TEMPERATURE).exp())
        many = votes.index_add(1, self.label, ((cosine - best) / TEMPERATURE).exp())
        shares = [part / part.sum(1, keepdim=True) for part in (few, many)]
        return (shares[0] + REST * shares[1] + torch.finfo(pooled.dtype).tiny).log()
