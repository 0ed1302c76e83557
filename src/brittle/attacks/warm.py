"""An attack that continues from what it found with smaller budgets, so that no budget gives a better number than a
smaller one."""

from collections.abc import Sequence

from torch import Tensor

from brittle.attacks.parts import ensemble
from brittle.core.traits import AttackTraits, always
from brittle.types import Batch, Model, Positive
from brittle.types.rng import Rng
from brittle.types.threat import Threat


def warm(
    model: Model, batch: Batch, threat: Threat, rng: Rng, /, *, attack: str = "pgd", eps: Sequence[Positive] = ()
) -> Tensor:
    """``attack`` with each of the smaller budgets ``eps`` in turn, each continuing from the last, then with the
    threat's own; for each image the worse of what it found and what it began with.

    A batch with a ``start`` has been through the smaller budgets already. A run with several budgets uses this attack
    for its cells automatically.

    Args:
        attack: spec of the attack that climbs.
        eps: the smaller budgets.
    """
    climb = ensemble.member(attack)
    if batch.start is None:
        for radius in sorted(size for size in eps if size < threat.eps):
            smaller = Threat(threat.norm, radius)
            batch = batch._replace(start=_worse(climb, model, batch, smaller, rng.again()))
    return _worse(climb, model, batch, threat, rng)


def _worse(climb: ensemble.Member, model: Model, batch: Batch, threat: Threat, rng: Rng) -> Tensor:
    if batch.start is None:
        return climb(model, batch, threat, rng)
    return ensemble.worst_of([climb], model, batch, threat, rng, held=batch.start)


TRAITS = AttackTraits(picks=True, passes=always(3))
