"""Any attack, with the score and the embedding's move after each of its steps written down."""

from torch import Tensor

from brittle import spec
from brittle.rng import Rng
from brittle.threat import Threat
from brittle.types import Batch, Model

CURVE = True  # whoever measures it follows each iterate


def curve(model: Model, batch: Batch, threat: Threat, rng: Rng, /, *, attack: str = "pgd") -> Tensor:
    """What ``attack`` gives; a result's ``curve`` has the metrics and the mean L2 move of the pooled feature at the start, after each step,
    and of the images returned. Of an ensemble, the first member's steps."""
    return spec.build("attacks", attack, model, batch, threat, rng)
