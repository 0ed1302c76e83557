"""The strongest of several embedding attacks, judged on the head: how far an attacker gets who never saw it."""

from torch import Tensor

from brittle.attacks.parts import ensemble
from brittle.core.traits import AttackTraits, always
from brittle.types import AtLeastOne, Batch, Model
from brittle.types.rng import Rng
from brittle.types.threat import Threat

VARIANTS = ("tokens=cls, ", "distance=cosine, tokens=cls, ", "tokens=grid, ", "distance=cosine, tokens=all, ")


def embed_worst(
    model: Model, batch: Batch, threat: Threat, rng: Rng, /, *, steps: AtLeastOne = 20, restarts: AtLeastOne = 2
) -> Tensor:
    """The worst per image of EmbedAttack (arXiv 2407.12588, 2024) in L2 and cosine, on the pooled feature, the grid and
    all tokens.

    Args:
        steps, restarts: of each.
    """
    return ensemble.worst_of(map(ensemble.member, _climbs(steps, restarts)), model, batch, threat, rng)


def _climbs(steps: int, restarts: int) -> list[str]:
    return [f"embed({variant}steps={steps}, restarts={restarts})" for variant in VARIANTS]


TRAITS = AttackTraits(
    version=2,
    members=_climbs,
    picks=True,
    passes=always(len(VARIANTS) + 1),
)
