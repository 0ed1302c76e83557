"""The depth ensemble: five losses that pull a depth map wrong in different ways, and the two attacks that are made for depth."""

from collections.abc import Sequence

from torch import Tensor

from brittle import ensemble
from brittle.rng import Rng
from brittle.threat import Threat
from brittle.types import AtLeastOne, Batch, Model

TASKS = ("depth",)
LOSSES = ("l1", "silog", "log_bias(direction=up)", "log_bias(direction=down)", "cospgd")
PARTS = tuple(f"apgd(objective={loss})" for loss in LOSSES)
VERSION = 2


def depth_worst(
    model: Model, batch: Batch, threat: Threat, rng: Rng, /, *, steps: AtLeastOne = 100, attacks: Sequence[str] = ("depthpgd", "cospgd")
) -> Tensor:
    """The image of highest RMSE among APGD on absolute error, scale-invariant log loss, log bias up and down, and CosPGD's weighted error,
    with DepthPGD (arXiv 2407.12588, 2024) and CosPGD (Agnihotri et al. 2023). Ours; docs/attacks.md has what each of them adds.

    Args:
        steps: of each APGD.
        attacks: specs of further members, by default the attacks that are made for depth.
    """
    parts = [f"apgd(objective={loss}, steps={steps}, keep=score)" for loss in LOSSES]
    return ensemble.worst_of(map(ensemble.member, [*parts, *attacks]), model, batch, threat, rng)
