"""The strongest of several embedding attacks, judged on the head: how far an attacker gets who never saw it."""

from torch import Tensor

from brittle import ensemble
from brittle.rng import Rng
from brittle.threat import Threat
from brittle.types import AtLeastOne, Batch, Model

PARTS = ("embed",)
VARIANTS = ("", "distance=cosine, ", "tokens=grid, ", "distance=cosine, tokens=all, ")


def embed_worst(model: Model, batch: Batch, threat: Threat, rng: Rng, /, *, steps: AtLeastOne = 20, restarts: AtLeastOne = 2) -> Tensor:
    """The worst per image of EmbedAttack (arXiv 2407.12588, 2024) in L2 and cosine, on the pooled feature, the grid and all tokens.

    Args:
        steps, restarts: of each.
    """
    parts = (f"embed({variant}steps={steps}, restarts={restarts})" for variant in VARIANTS)
    return ensemble.worst_of(map(ensemble.member, parts), model, batch, threat, rng)
