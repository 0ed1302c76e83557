"""SEA: the segmentation ensemble, three losses that each break what the others spare."""

from collections.abc import Sequence

from torch import Tensor

from brittle import ensemble
from brittle.rng import Rng
from brittle.threat import Threat
from brittle.types import AtLeastOne, Batch, Model

TASKS = ("segmentation",)
LOSSES = ("masked_ce(balanced=true)", "masked_ce", "js")
PARTS = tuple(f"apgd(objective={loss})" for loss in LOSSES)
VERSION = 2
GREEDY = True  # mIoU is not a mean over images: which member's image counts is chosen over the whole data set


def sea(
    model: Model, batch: Batch, threat: Threat, rng: Rng, /, *, steps: AtLeastOne = 300, attacks: Sequence[str] = ("segpgd", "cospgd")
) -> Tensor:
    """Segmentation ensemble attack (Croce, Singh and Hein 2024): APGD with shrinking eps on balanced masked cross entropy, masked cross
    entropy and Jensen-Shannon divergence, the iterate of lowest pixel accuracy of each; for each image the worst of all members, and for
    mIoU the choice that is worst over all images.

    Args:
        steps: of each APGD.
        attacks: specs of further members, by default the other attacks that are made for segmentation, so that no picture fares worse under
            one of them; ``[]`` is SEA as published.
    """
    parts = [f"apgd(objective={loss}, steps={steps}, shrink=true, keep=score)" for loss in LOSSES]
    return ensemble.worst_of(map(ensemble.member, [*parts, *attacks]), model, batch, threat, rng)
