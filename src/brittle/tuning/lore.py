"""LORE: robust embeddings under the constraint that clean ones stay close to the teacher's."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from brittle.core.traits import TuningTraits
from brittle.tuning.parts.distance import Distance, Measure, Tokens
from brittle.tuning.parts.inner import EMBEDDING, Inner
from brittle.tuning.parts.method import Distillation, Method, Seen, known
from brittle.tuning.parts.source import Source
from brittle.types import Encoder, Features, Positive
from brittle.types.threat import Norm


def lore(
    encoder: Encoder,
    source: Source,
    /,
    *,
    rho: Positive = 0.1,
    dual: Positive = 1.0,
    tokens: Tokens = "cls",
    distance: Measure = "l2",
    eps: Positive = 8 / 255,
    norm: Norm = "linf",
    attack: str = EMBEDDING,
) -> Method:
    """Lagrangian-optimised robust embeddings (Khodabandeh et al. 2025, arXiv 2505.18884).

    Minimises ``|s(x_adv) - t(x)|^2`` under ``|s(x) - t(x)|^2 <= rho |t(x)|^2`` for each image: a Lagrangian whose
    multiplier, a small network of the teacher's feature, climbs where the constraint is broken and falls where it
    holds.

    Args:
        rho: how far a clean feature may be from the teacher's, as a share of its squared length.
        dual: how fast the multiplier climbs, as a multiple of the learning rate.
        tokens, distance: what is compared, and how; the pooled feature as published.
        attack: spec of the inner attack, which makes the images of ``x_adv``.
        eps, norm: its budget.
    """
    far, multiplier = Distance(tokens, distance, known(encoder, source, distance)), Multiplier(encoder.dim)

    def loss(seen: Seen) -> Tensor:
        nothing = Features(*(torch.zeros_like(part) for part in seen.anchor))
        over = far(seen.clean, seen.anchor) - rho * far(seen.anchor, nothing).abs()
        weight = multiplier(seen.anchor.pooled)
        # the student descends with the multiplier held, the multiplier ascends with the student held
        return far(seen.attacked, seen.anchor) + weight.detach() * over - dual * weight * over.detach()

    return Distillation(encoder, Inner(attack, eps, norm), loss, clean=True, own=multiplier)


class Multiplier(nn.Module):
    """[B] above 0 of the teacher's pooled feature [B, D]: at first nearly the same for all."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        return softplus(self.linear(normalize(pooled, dim=1)))[:, 0]


TRAITS = TuningTraits()
