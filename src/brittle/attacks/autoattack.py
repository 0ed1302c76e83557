"""AutoAttack: the field's standard ensemble for classification, two gradient attacks, one for small distances and a
black box."""

from typing import Literal

import torch
from torch import Tensor

from brittle.attacks.parts import ensemble
from brittle.core.errors import UsageError
from brittle.core.traits import AttackTraits, always
from brittle.types import AtLeastOne, Batch, Model
from brittle.types.rng import Rng
from brittle.types.threat import Norm, Threat

TARGETS, TARGETS_L1, RESTARTS_L1 = 9, 5, 5
Version = Literal["house", "standard"]


def autoattack(
    model: Model,
    batch: Batch,
    threat: Threat,
    rng: Rng,
    /,
    *,
    steps: AtLeastOne = 100,
    queries: AtLeastOne = 5000,
    version: Version = "house",
) -> Tensor:
    """APGD on cross entropy, APGD on targeted DLR and FAB towards 9 classes each, Square (Croce and Hein 2020); each
    only on the images that are still right. In l1 (Croce and Hein 2021) both APGDs begin in larger balls, the first
    climbs five times and the second towards 5 classes.

    Args:
        steps: of both APGDs and of FAB; 100 as published.
        queries: of Square; 5,000 as published.
        version: ``standard`` is the published code's: APGD spends no steps on scouting, the last misclassified image is
            returned, and an image that was wrong already or stays right is returned as it was. ``house`` scouts, as
            ``apgd`` does by default, returns of misclassified images the one of highest loss, and of images that stay
            right the one of highest loss too; with fewer than 10 classes, where the published code stops, it aims at
            all there are, and under 4 classes, which DLR needs for a target, it climbs the plain margin.

    Raises:
        UsageError: version=standard with fewer than 10 classes.
    """
    with torch.no_grad():
        classes = model(batch.images[:1]).shape[1]
    if version == "standard" and classes <= TARGETS:
        raise UsageError(
            f"autoattack(version=standard) aims at {TARGETS} wrong classes, there are {classes - 1}; take version=house"
        )
    members = _members(steps, queries, version, classes=classes, norm=threat.norm)
    found = ensemble.worst_of(map(ensemble.member, members), model, batch, threat, rng)
    if version == "house":
        return found
    fell = _right(model, batch.images, batch.target) & ~_right(model, found, batch.target)
    return torch.where(fell.view(-1, 1, 1, 1), found, batch.images)


def _members(steps: int, queries: int, version: Version, classes: int = TARGETS + 1, norm: Norm = "linf") -> list[str]:
    """Specs of the members; APGD and FAB towards classes only where there are wrong ones."""
    climb, first, targets = f"steps={steps}", "", TARGETS
    if norm == "l1":
        climb, first, targets = f"{climb}, shrink=true", f"restarts={RESTARTS_L1}, ", TARGETS_L1
    if version == "standard":
        climb, queries = f"{climb}, scout=0, keep=fooled", queries + 1  # there the stripes at the start are no query
    margin = f"dlr(normalised={str(classes > 3).lower()})"
    towards = [
        f"apgd(objective={margin}, targets={min(targets, classes - 1)}, {climb})",
        f"fab(targets={min(TARGETS, classes - 1)}, steps={steps})",
    ]
    return [f"apgd({first}{climb})", *(towards if classes > 1 else []), f"square(queries={queries})"]


@torch.no_grad()
def _right(model: Model, images: Tensor, target: Tensor) -> Tensor:
    """[B], in float32."""
    with model.using(bf16=False):
        right = model.task.right(model(images), target)
    assert right is not None
    return right


TRAITS = AttackTraits(
    needs=("classes", "per_image"),
    members=_members,
    picks=True,
    passes=always(8),
)
