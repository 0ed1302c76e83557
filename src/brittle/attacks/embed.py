"""EmbedAttack: PGD on the distance the representation moves; it looks at no head and no label."""

from torch import Tensor

from brittle.attacks.parts.ascent import Keep, ascend, passes
from brittle.core.traits import AttackTraits
from brittle.objectives.embedding import Distance, Layer, Tokens, embedding
from brittle.types import AtLeastOne, Batch, Count, Model, Positive
from brittle.types.rng import Rng
from brittle.types.threat import Threat


def embed(
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    /,
    *,
    distance: Distance = "l2",
    tokens: Tokens = "cls",
    layer: Layer = "final",
    steps: Count = 20,
    step: Positive = 0.25,
    random_start: bool = True,
    restarts: AtLeastOne = 1,
    keep: Keep = "best",
) -> Tensor:
    """EmbedAttack (arXiv 2407.12588, 2024); ``distance``, ``tokens`` and ``layer`` as in ``embedding``, the rest as in
    ``pgd``."""
    climbed = embedding(model, batch, distance=distance, tokens=tokens, layer=layer)
    return ascend(
        climbed,
        model,
        batch,
        threat,
        rng,
        steps=steps,
        step=step,
        random_start=random_start,
        restarts=restarts,
        keep=keep,
    )


TRAITS = AttackTraits(objective="embedding", passes=passes)
