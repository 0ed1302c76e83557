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
    model: Model, batch: Batch, threat: Threat, rng: Rng, /, *, attacks: Sequence[str] = ("pgd", "embed")
) -> Tensor:
    """For each image what hurt it most (wrong label, lowest pixel accuracy, highest RMSE; then the highest loss).

    Args:
        attacks: specs, such as ``[pgd, embed]``.

    Raises:
        UsageError: there are none.
    """
    if not attacks:
        raise UsageError("worst(attacks=[]): name at least one attack, such as worst(attacks=[pgd, embed])")
    return ensemble.worst_of(map(ensemble.member, attacks), model, batch, threat, rng)


def _passes(*, attacks: Sequence[str]) -> Passes:
    return Passes(1 + len(attacks), 0)


TRAITS = AttackTraits(picks=True, passes=_passes)
