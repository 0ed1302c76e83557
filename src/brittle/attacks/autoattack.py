"""AutoAttack: the field's standard ensemble for classification, two gradient attacks, one for small distances and a
black box."""

import torch
from torch import Tensor

from brittle.attacks.parts import ensemble
from brittle.core.traits import AttackTraits, always
from brittle.types import AtLeastOne, Batch, Model
from brittle.types.rng import Rng
from brittle.types.threat import Threat

TARGETS = 9


def autoattack(
    model: Model, batch: Batch, threat: Threat, rng: Rng, /, *, steps: AtLeastOne = 100, queries: AtLeastOne = 5000
) -> Tensor:
    """The standard version (Croce and Hein 2020): APGD on cross entropy, APGD on targeted DLR and FAB towards 9 classes
    each, Square; each only on the images that are still right.

    Fewer targets where there are fewer than 10 classes; under 4 classes, which DLR needs for a target, the plain margin
    is climbed.

    Args:
        steps: of both APGDs and of FAB.
        queries: of Square.
    """
    with torch.no_grad():
        classes = model(batch.images[:1]).shape[1]
    members = _members(steps, queries, targets=min(TARGETS, classes - 1), normalised=classes > 3)
    return ensemble.worst_of(map(ensemble.member, members), model, batch, threat, rng)


def _members(steps: int, queries: int, targets: int = TARGETS, normalised: bool = True) -> list[str]:
    """Specs of the members; APGD and FAB towards classes only where there are wrong ones."""
    margin = f"dlr(normalised={str(normalised).lower()})"
    towards = [f"apgd(objective={margin}, targets={targets}, steps={steps})", f"fab(targets={targets}, steps={steps})"]
    return [f"apgd(steps={steps})", *(towards if targets else []), f"square(queries={queries})"]


TRAITS = AttackTraits(
    needs=("classes", "per_image"),
    members=_members,
    picks=True,
    passes=always(6),
)
