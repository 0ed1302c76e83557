"""How far features are from others: which tokens, and by what measure."""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from brittle.types import Features

Tokens = Literal["cls", "grid", "all"]
Measure = Literal["l2", "cosine", "mahalanobis"]
RIDGE = (
    0.1  # of the mean eigenvalue, added to each, so that directions in which nothing varies do not count without end
)


class Distance:
    """[B] of two encoders' features of the same images.

    Args:
        tokens: ``cls``: the pooled feature; ``grid``: the mean over patches; ``all``: the mean of both.
        measure: ``l2``: squared, the sum over dimensions; ``cosine``: minus the cosine similarity; ``mahalanobis``: as
            ``l2``, in coordinates in which ``known`` has covariance 1 (of the pooled feature and of patches each
            its own).
        known: the teacher's features of images, of which the covariance is taken; empty where it is not needed.
    """

    def __init__(self, tokens: Tokens, measure: Measure, known: Iterable[Features] = ()) -> None:
        self.tokens: Tokens = tokens
        self.measure: Measure = measure
        self._white = _whitening([_tokens(each, tokens) for each in known]) if measure == "mahalanobis" else []

    def __call__(self, one: Features, other: Features) -> Tensor:
        parts = list(zip(_tokens(one, self.tokens), _tokens(other, self.tokens)))
        return torch.stack([self._of(number, *pair) for number, pair in enumerate(parts)]).mean(0)

    def _of(self, number: int, one: Tensor, other: Tensor) -> Tensor:
        """[B] of tokens [B, T, D]."""
        if self.measure == "cosine":
            return -cosine_similarity(one, other, dim=2).mean(1)
        moved = one - other
        if self.measure == "mahalanobis":
            self._white[number] = self._white[number].to(moved)
            moved = moved @ self._white[number]
        return moved.square().sum(2).mean(1)


def _tokens(features: Features, tokens: Tokens) -> list[Tensor]:
    """[B, T, D] of each part that counts alike."""
    pooled, grid = features.pooled[:, None], features.grid.flatten(2).mT
    match tokens:
        case "cls":
            return [pooled]
        case "grid":
            return [grid]
        case "all":
            return [pooled, grid]


def _whitening(known: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Of each part the matrix [D, D] after which its tokens have covariance 1."""
    made: list[Tensor] = []
    for part in zip(*known):
        rows = torch.cat([each.flatten(0, 1) for each in part]).double()
        values, vectors = torch.linalg.eigh(torch.cov(rows.T))
        ridge = RIDGE * values.mean()
        made.append((vectors @ torch.diag((values.clamp(min=0) + ridge).rsqrt()) @ vectors.T).float())
    return made
