"""Random noise of the full budget: what no attack may be weaker than."""

from torch import Tensor

from brittle.core.traits import AttackTraits
from brittle.types import Batch, Model
from brittle.types.rng import Rng
from brittle.types.threat import Threat


def noise(model: Model, batch: Batch, threat: Threat, rng: Rng, /) -> Tensor:
    """One random corner of the ball (linf: every value moved by plus or minus eps; l2: a random direction of length
    eps; l1: a random hundredth of the values moved alike, more where eps asks for it)."""
    direction = rng.normal(batch.images)
    return threat.project(batch.images, threat.ascend(batch.images, direction, threat.eps))


TRAITS = AttackTraits(sees="nothing")
