"""The strongest of many embedding attacks, judged on the head: how far an attacker gets who follows the encoder
alone."""

from torch import Tensor

from brittle.attacks.parts import ensemble
from brittle.core.traits import AttackTraits, Passes
from brittle.types import AtLeastOne, Batch, Model
from brittle.types.rng import Rng
from brittle.types.threat import Threat

ROUNDS = 2  # how many times all of those that go on do so, one after the other


def embed_worst(
    model: Model, batch: Batch, threat: Threat, rng: Rng, /, *, steps: AtLeastOne = 20, restarts: AtLeastOne = 3
) -> Tensor:
    """The worst per image of EmbedAttack (arXiv 2407.12588, 2024) on the pooled feature, the grid, all tokens by cosine
    and, where the encoder has layers, on the grid of the middle and of the first one and on the relations of its
    patches (FSPGD, arXiv 2502.01262, 2025); then further climbs, each from the worst image so far. The head is asked
    which iterate is the worst, and never for a gradient.

    Args:
        steps: of each climb; all but those that go on also climb once with three times as many.
        restarts: of each of so many steps; the longer ones begin once.
    """
    depth = model.encoder.depth if model.encoder else 0
    alone, then = _alone(steps, restarts, depth), _onward(steps, depth)
    return ensemble.worst_of(map(ensemble.member, alone), model, batch, threat, rng, then=map(ensemble.member, then))


def _alone(steps: int, restarts: int, depth: int) -> list[str]:
    """Specs of the members that begin at random, for an encoder of so many layers."""
    effort, long = f"steps={steps}, restarts={restarts}, keep=score", f"steps={3 * steps}, keep=score"
    moved = ["tokens=cls", "tokens=grid", "distance=cosine, tokens=all", *_layers(depth)]
    related = [f"pgd(objective=relations, {much})" for much in (effort, long)] if depth > 1 else []
    return [*(f"embed({how}, {much})" for much in (effort, long) for how in moved), *related]


def _onward(steps: int, depth: int) -> list[str]:
    """Specs of those that go on: each moves something else than the one before, which leads out of where that came
    to."""
    middle, first = _layers(depth)[:1], _layers(depth)[1:]
    moved = ["tokens=head", *middle, "tokens=cls", *first]
    return ROUNDS * [f"padam(objective=embedding({how}), steps={steps})" for how in moved]


def _layers(depth: int) -> list[str]:
    return [f"tokens=grid, layer={layer}" for layer in (depth // 2 - 1, 0)] if depth > 1 else []


def _members(*, steps: int, restarts: int, depth: int = 2) -> list[str]:
    return [*_alone(steps, restarts, depth), *_onward(steps, depth)]


def _passes(**_settings: object) -> Passes:
    return Passes(1 + len(_members(steps=1, restarts=1)), 0)


TRAITS = AttackTraits(
    version=6,
    members=_members,
    picks=True,
    passes=_passes,
)
