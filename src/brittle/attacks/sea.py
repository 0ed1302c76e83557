"""SEA: the segmentation ensemble, three losses that each break what the others spare, and what breaks more."""

from collections.abc import Sequence

from torch import Tensor

from brittle.attacks.parts import ensemble
from brittle.core.traits import AttackTraits, Passes
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
    attacks: Sequence[str] = ("segpgd", "cospgd", "segpgd(steps=60)", "cospgd(steps=60)"),
) -> Tensor:
    """Segmentation ensemble attack (Croce, Singh and Hein 2024): APGD with shrinking eps on balanced masked cross
    entropy, masked cross entropy and Jensen-Shannon divergence, the iterate of lowest pixel accuracy of each. Then
    ours: the strongest single climbs at three times the steps, which are APGD on CosPGD's loss and on two of the above;
    CosPGD's loss with classes balanced, PAdam on CosPGD's loss (arXiv 2407.09150, 2024), and climbs on from the
    worst of all. For each image the worst member, and for mIoU the choice that is worst over all images.

    Args:
        steps: of each climb as published; the whole takes seventeen times as many, and 160 more.
        attacks: specs of further members, by default the other attacks that are made for segmentation, so that no image
            fares worse under one of them, and the same at three times their steps; ``[]`` is SEA as published, without
            anything of ours.
    """
    published, ours = _published(steps), _ours(steps) if attacks else []
    alone = map(ensemble.member, [*published, *attacks, *ours])
    then = map(ensemble.member, _onward(steps) if attacks else [])
    return ensemble.worst_of(alone, model, batch, threat, rng, then=then)


def _published(steps: int) -> list[str]:
    return [f"apgd(objective={loss}, steps={steps}, shrink=true, keep=score)" for loss in LOSSES]


def _ours(steps: int) -> list[str]:
    long = f"steps={3 * steps}, keep=score"
    again = [f"apgd(objective={loss}, {long}, shrink=true)" for loss in LOSSES[1:]]
    balanced = f"apgd(objective=cospgd(balanced=true), steps={steps}, keep=score)"
    return [f"apgd(objective=cospgd, {long})", *again, balanced, f"padam(objective=cospgd, steps={steps})"]


def _onward(steps: int) -> list[str]:
    """Specs of those that each begin at the worst image so far: what one loss has spared, the other takes up."""
    climbs = [f"apgd(objective={loss}, steps={steps}, scout=0, keep=score)" for loss in ("cospgd", "masked_ce")]
    return [f"padam(objective=masked_ce, steps={steps})", *climbs]


def _members(*, steps: int, attacks: Sequence[str], **_settings: object) -> list[str]:
    return [*_published(steps), *([*_ours(steps), *_onward(steps)] if attacks else [])]


def _passes(*, attacks: Sequence[str], **_settings: object) -> Passes:
    return Passes(1 + len(_members(steps=1, attacks=attacks)) + len(attacks), 0)


TRAITS = AttackTraits(
    version=6,
    needs=("classes", "per_pixel"),
    members=_members,
    picks=True,
    whole_set=True,  # mIoU is not a mean over images
    passes=_passes,
)
