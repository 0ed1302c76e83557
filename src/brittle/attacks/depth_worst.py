"""The depth ensemble: losses that pull a depth map wrong in different ways, the two attacks that are made for depth,
and one more climb from the worst of them."""

from collections.abc import Sequence

from torch import Tensor

from brittle.attacks.parts import ensemble
from brittle.core.traits import AttackTraits, Passes
from brittle.types import AtLeastOne, Batch, Model
from brittle.types.rng import Rng
from brittle.types.threat import Threat

LOSSES = ("mse", "l1", "silog", "log_bias(direction=up)", "log_bias(direction=down)", "cospgd")


def depth_worst(
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    /,
    *,
    steps: AtLeastOne = 100,
    attacks: Sequence[str] = ("depthpgd", "cospgd"),
) -> Tensor:
    """The image of highest RMSE among APGD on squared and absolute error, scale-invariant log loss, log bias up and
    down, and CosPGD's weighted error, with DepthPGD (arXiv 2407.12588, 2024) and CosPGD (Agnihotri et al. 2023); then
    APGD on squared error from there. Ours; docs/attacks.md has what each of them adds.

    Args:
        steps: of each APGD.
        attacks: specs of further members, by default the attacks that are made for depth.
    """
    *climbs, last = map(ensemble.member, _climbs(steps=steps))
    members = [*climbs, *map(ensemble.member, attacks)]
    return ensemble.worst_of(members, model, batch, threat, rng, then=[last])


def _climbs(*, steps: int, **_settings: object) -> list[str]:
    """Specs of the climbs, of which the last begins where all other members have come to."""
    alone = [f"apgd(objective={loss}, steps={steps}, keep=score)" for loss in LOSSES]
    return [*alone, f"apgd(objective=mse, steps={steps}, scout=0, keep=score)"]


def _passes(*, attacks: Sequence[str], **_settings: object) -> Passes:
    return Passes(len(LOSSES) + 2 + len(attacks), 0)


TRAITS = AttackTraits(
    version=3,
    needs=("metres", "per_pixel"),
    members=_climbs,
    picks=True,
    passes=_passes,
)
