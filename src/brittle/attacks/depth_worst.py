"""The depth ensemble: five losses that pull a depth map wrong in different ways, and the two attacks that are made for
depth."""

from collections.abc import Sequence

from torch import Tensor

from brittle.attacks.parts import ensemble
from brittle.core.traits import AttackTraits, always
from brittle.types import AtLeastOne, Batch, Model
from brittle.types.rng import Rng
from brittle.types.threat import Threat

LOSSES = ("l1", "silog", "log_bias(direction=up)", "log_bias(direction=down)", "cospgd")


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
    """The image of highest RMSE among APGD on absolute error, scale-invariant log loss, log bias up and down, and
    CosPGD's weighted error, with DepthPGD (arXiv 2407.12588, 2024) and CosPGD (Agnihotri et al. 2023). Ours;
    docs/attacks.md has what each of them adds.

    Args:
        steps: of each APGD.
        attacks: specs of further members, by default the attacks that are made for depth.
    """
    return ensemble.worst_of(map(ensemble.member, [*_climbs(steps=steps), *attacks]), model, batch, threat, rng)


def _climbs(*, steps: int, **_settings: object) -> list[str]:
    return [f"apgd(objective={loss}, steps={steps}, keep=score)" for loss in LOSSES]


TRAITS = AttackTraits(
    version=2,
    needs=("metres", "per_pixel"),
    members=_climbs,
    picks=True,
    passes=always(len(LOSSES) + 3),
)
