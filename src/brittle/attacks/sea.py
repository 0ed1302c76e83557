"""SEA: the segmentation ensemble, three losses that each break what the others spare."""

from collections.abc import Sequence

from torch import Tensor

from brittle.attacks.parts import ensemble
from brittle.core.traits import AttackTraits, always
from brittle.types import AtLeastOne, Batch, Model
from brittle.types.rng import Rng
from brittle.types.threat import Threat

LOSSES = ("masked_ce(balanced=true)", "masked_ce", "js")


def sea(
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    /,
    *,
    steps: AtLeastOne = 300,
    attacks: Sequence[str] = ("segpgd", "cospgd"),
) -> Tensor:
    """Segmentation ensemble attack (Croce, Singh and Hein 2024): APGD with shrinking eps on balanced masked cross
    entropy, masked cross entropy and Jensen-Shannon divergence, the iterate of lowest pixel accuracy of each; for each
    image the worst of all members, and for mIoU the choice that is worst over all images.

    Args:
        steps: of each APGD.
        attacks: specs of further members, by default the other attacks that are made for segmentation, so that no image
            fares worse under one of them; ``[]`` is SEA as published.
    """
    return ensemble.worst_of(map(ensemble.member, [*_climbs(steps=steps), *attacks]), model, batch, threat, rng)


def _climbs(*, steps: int, **_settings: object) -> list[str]:
    return [f"apgd(objective={loss}, steps={steps}, shrink=true, keep=score)" for loss in LOSSES]


TRAITS = AttackTraits(
    version=2,
    needs=("classes", "per_pixel"),
    members=_climbs,
    picks=True,
    whole_set=True,  # mIoU is not a mean over images
    passes=always(len(LOSSES) + 3),
)
