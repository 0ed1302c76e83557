"""The depth ensemble: losses that pull a depth map wrong in different ways, the two attacks that are made for depth,
and climbs on from the worst of them."""

from collections.abc import Sequence

from torch import Tensor

from brittle.attacks.parts import ensemble
from brittle.core.traits import AttackTraits, Passes
from brittle.types import AtLeastOne, Batch, Model
from brittle.types.rng import Rng
from brittle.types.threat import Threat

LOSSES = ("l1", "silog", "log_bias(direction=down)")
# from where each of these leads, after so many times the steps, squared error is climbed; by itself it is the strongest
LED = {"mse": 3, "log_bias(direction=up)": 3, "cospgd": 1}
# Adam's rates as shares of eps, and how many times the steps at each: the first leaves the neighbourhood, as the worst
# images of a plain encoder lie far from where one climb ends, the others find the top of where it came to
RATES = {0.25: 3, 0.1: 1, 0.04: 1}


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
    squared error from there, by APGD and by Adam at falling rates. Ours; docs/attacks.md has what each of them adds.

    Args:
        steps: of most climbs; the whole takes nineteen times as many, and 40 more.
        attacks: specs of further members, by default the attacks that are made for depth.
    """
    alone, then = (map(ensemble.member, specs) for specs in ([*_alone(steps), *attacks], _onward(steps)))
    return ensemble.worst_of(alone, model, batch, threat, rng, then=then)


def _alone(steps: int) -> list[str]:
    """Specs of the members that begin where they would alone."""
    first = [f"apgd(objective={loss}, steps={times * steps}, keep=score)" for loss, times in LED.items()]
    further = [f"apgd(objective={loss}, steps={steps}, keep=score)" for loss in LOSSES]
    return [
        *(f"worst(attacks=[{climb}, padam(objective=mse, steps={steps})], chain=true)" for climb in first),
        *further,
    ]


def _onward(steps: int) -> list[str]:
    """Specs of those that each begin at the worst image so far."""
    slower = [f"padam(objective=mse, steps={times * steps}, step={rate})" for rate, times in RATES.items()]
    return [f"apgd(objective=mse, steps={steps}, scout=0, keep=score)", *slower]


def _members(*, steps: int, **_settings: object) -> list[str]:
    return [*_alone(steps), *_onward(steps)]


def _passes(*, attacks: Sequence[str], **settings: object) -> Passes:
    return Passes(1 + len(_members(steps=1)) + len(attacks), 0)


TRAITS = AttackTraits(
    version=6,
    needs=("metres", "per_pixel"),
    members=_members,
    picks=True,
    passes=_passes,
)
