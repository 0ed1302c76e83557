"""Any attack, with the score and the embedding's move after each of its steps written down."""

from torch import Tensor

from brittle.core import components
from brittle.core.traits import AttackTraits
from brittle.types import Batch, Model
from brittle.types.rng import Rng
from brittle.types.threat import Threat


def curve(model: Model, batch: Batch, threat: Threat, rng: Rng, /, *, attack: str = "pgd") -> Tensor:
    """The images of ``attack``; a result's ``curve`` has the metrics and the mean L2 move of the pooled feature at the
    start, after each step, and of the images returned. Of an ensemble, the first member's steps.

    Args:
        attack: spec of the attack that is followed.
    """
    return components.build("attacks", attack, model, batch, threat, rng)


TRAITS = AttackTraits(follows=True)
