"""The worst of any attacks, image by image."""

from collections.abc import Sequence

from torch import Tensor

from brittle.attacks.parts import ensemble
from brittle.core.errors import UsageError
from brittle.core.traits import AttackTraits, Passes
from brittle.types import Batch, Model
from brittle.types.rng import Rng
from brittle.types.threat import Threat


def worst(
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    /,
    *,
    attacks: Sequence[str] = ("pgd", "embed"),
    chain: bool = False,
) -> Tensor:
    """For each image what hurt it most (wrong label, lowest pixel accuracy, highest RMSE; then the highest loss).

    Args:
        attacks: specs, such as ``[pgd, embed]``.
        chain: each after the first starts at the worst image so far, where it has a use for a start.

    Raises:
        UsageError: there are none.
    """
    if not attacks:
        raise UsageError("worst(attacks=[]): name at least one attack, such as worst(attacks=[pgd, embed])")
    members = [ensemble.member(attack) for attack in attacks]
    alone = 1 if chain else len(members)
    return ensemble.worst_of(members[:alone], model, batch, threat, rng, then=members[alone:])


def _passes(*, attacks: Sequence[str], **_settings: object) -> Passes:
    return Passes(1 + len(attacks), 0)


TRAITS = AttackTraits(picks=True, passes=_passes)
