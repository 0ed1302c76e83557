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
    all tokens, and, where the encoder has layers, on the grid of the middle one and on the relations of its patches
    (FSPGD, arXiv 2502.01262, 2025).

    Args:
        steps, restarts: of each.
    """
    depth = model.encoder.depth if model.encoder else 0
    return ensemble.worst_of(map(ensemble.member, _climbs(steps, restarts, depth)), model, batch, threat, rng)


def _climbs(steps: int, restarts: int, depth: int = 2) -> list[str]:
    """Specs of the members for an encoder of so many layers."""
    effort = f"steps={steps}, restarts={restarts}"
    climbs = [f"embed({variant}{effort})" for variant in VARIANTS]
    if depth > 1:
        climbs.append(f"embed(tokens=grid, layer={depth // 2 - 1}, {effort})")
        climbs.append(f"pgd(objective=relations, keep=last, {effort})")
    return climbs


TRAITS = AttackTraits(
    version=3,
    members=_climbs,
    picks=True,
    passes=always(len(VARIANTS) + 3),
)
