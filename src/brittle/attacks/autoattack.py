"""AutoAttack: the field's standard ensemble for classification, two gradient attacks, one for small distances and a black box."""

from collections.abc import Iterator

import torch
from torch import Tensor

from brittle import ensemble
from brittle.rng import Rng
from brittle.threat import Threat
from brittle.types import AtLeastOne, Batch, Model

TASKS = ("classification",)
PARTS = ("apgd", "apgd(objective=dlr)", "fab", "square")
TARGETS = 9


def autoattack(model: Model, batch: Batch, threat: Threat, rng: Rng, /, *, steps: AtLeastOne = 100, queries: AtLeastOne = 5000) -> Tensor:
    """The standard version (Croce and Hein 2020): APGD on cross entropy, APGD on targeted DLR and FAB towards 9 classes each, Square; each
    only on the images that are still right.

    Fewer targets where there are fewer than 10 classes; under 4 classes, which DLR needs for a target, the plain margin is climbed.

    Args:
        steps: of both APGDs and of FAB.
        queries: of Square.
    """
    with torch.no_grad():
        classes = model(batch.images[:1]).shape[1]
    targets = min(TARGETS, classes - 1)

    def specs() -> Iterator[str]:
        yield f"apgd(steps={steps})"
        if targets:
            yield f"apgd(objective=dlr(normalised={'true' if classes > 3 else 'false'}), targets={targets}, steps={steps})"
            yield f"fab(targets={targets}, steps={steps})"
        yield f"square(queries={queries})"

    return ensemble.worst_of(map(ensemble.member, specs()), model, batch, threat, rng)
