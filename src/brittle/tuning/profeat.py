"""ProFeAT: DeACL in the space of features and in that of the projector that the teacher was trained with."""

import copy
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn.functional import cosine_similarity

from brittle.core.errors import UsageError
from brittle.core.traits import TuningTraits
from brittle.tuning.parts.inner import Inner
from brittle.tuning.parts.method import Distillation, Method, Seen
from brittle.tuning.parts.source import Source
from brittle.types import Encoder, NotNegative, Positive
from brittle.types.threat import Norm

Share = Annotated[float, Field(ge=0, le=1)]
ATTACK = "pgd(objective=embedding(tokens=head, distance=cosine), steps=5, step=0.25, keep=last)"


def profeat(
    encoder: Encoder,
    source: Source,
    /,
    *,
    beta: NotNegative = 8.0,
    projected: Share = 0.5,
    eps: Positive = 8 / 255,
    norm: Norm = "linf",
    attack: str = ATTACK,
) -> Method:
    """Projected feature adversarial training (Addepalli et al. 2024, arXiv 2406.05796).

    Minimises ``d(s(x), t(x)) + beta d(s(x_adv), s(x))`` where ``d`` is minus the cosine of pooled features and minus
    that of what the teacher's frozen projector makes of them, weighted. ``x_adv`` climbs the sum of both between
    ``s(x_adv)`` and ``t(x)``; the release's leaves ``s(x)`` in the space of features. Student and teacher are of the
    same view, where the release's student has AutoAugment on top.

    Args:
        beta: weight of robustness.
        projected: weight of the projector's space; that of features has the rest.
        attack: spec of the inner attack, which makes the images of ``x_adv``. Its objective sees what the projector
            makes of an image as its grid: ``tokens=head`` moves both, ``cls`` and ``grid`` one of them.
        eps, norm: its budget.

    Raises:
        UsageError: the encoder has no projector.
    """
    if encoder.projector is None:
        reason = encoder.about.get("projector", "it holds none")
        raise UsageError(
            f"profeat needs the projector of the encoder's training, and {encoder.label} has none ({reason}); take a "
            "file: checkpoint that holds one, see docs/encoders.md, or deacl"
        )
    projector = copy.deepcopy(encoder.projector).eval().requires_grad_(False)

    def far(one: Tensor, other: Tensor) -> Tensor:
        apart = -cosine_similarity(projector(one), projector(other))
        return projected * apart - (1 - projected) * cosine_similarity(one, other)

    def loss(seen: Seen) -> Tensor:
        anchor, clean, attacked = (each.pooled for each in seen)
        return far(clean, anchor) + beta * far(attacked, clean)

    return Distillation(encoder, Inner(attack, eps, norm, projector=projector), loss, clean=True, own=projector)


_CIFAR = {
    "epochs": 100,
    "batch": 256,
    "optimiser": "sgd",
    "lr": 0.5,
    "momentum": 0.9,
    "decay": 3e-4,
    "warmup": 0.1,
    "warmup_from": 0.02,
    "schedule": "cosine",
    "clip": 0.0,
    "augment": "crop",
    "mode": "train",
    "precision": "32-true",
    "beta": 8.0,
    "projected": 0.5,
    "eps": 8 / 255,
    "attack": ATTACK,
}
"""Of the release (github.com/val-iisc/ProFeAT, train.sh and the defaults of its programs); its rate falls from the
start as a cosine to a thousandth, under a warm-up from .01, and it goes through the images once more."""

TRAITS = TuningTraits(presets={"cifar": _CIFAR})
