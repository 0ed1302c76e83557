"""EmbedAttack: PGD on the distance the representation moves; it looks at no head and no label."""

from torch import Tensor

from brittle.ascent import Keep, ascend
from brittle.objectives import embedding as objective
from brittle.rng import Rng
from brittle.threat import Threat
from brittle.types import AtLeastOne, Batch, Count, Model, Positive

HEADLESS = True  # so its images are computed once and scored by every head


def embed(
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    /,
    *,
    distance: objective.Distance = "l2",
    tokens: objective.Tokens = "cls",
    layer: objective.Layer = "final",
    steps: Count = 20,
    step: Positive = 0.25,
    random_start: bool = True,
    restarts: AtLeastOne = 1,
    keep: Keep = "best",
) -> Tensor:
    """EmbedAttack (arXiv 2407.12588, 2024); ``distance``, ``tokens`` and ``layer`` as in ``embedding``, the rest as in ``pgd``."""
    climbed = objective.embedding(model, batch, distance=distance, tokens=tokens, layer=layer)
    return ascend(climbed, model, batch, threat, rng, steps=steps, step=step, random_start=random_start, restarts=restarts, keep=keep)
