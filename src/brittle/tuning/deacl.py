"""DeACL: a student stays near its frozen teacher on clean images and near itself on attacked ones."""

from torch import Tensor

from brittle.core.traits import TuningTraits
from brittle.tuning.parts.distance import Distance, Measure, Tokens
from brittle.tuning.parts.inner import Inner
from brittle.tuning.parts.method import Distillation, Method, Seen, known
from brittle.tuning.parts.source import Source
from brittle.types import Encoder, NotNegative, Positive
from brittle.types.threat import Norm

ATTACK = "pgd(objective=embedding(tokens=cls, distance=cosine), steps=5, step=0.25, keep=last)"


def deacl(
    encoder: Encoder,
    source: Source,
    /,
    *,
    gamma: NotNegative = 2.0,
    tokens: Tokens = "cls",
    distance: Measure = "cosine",
    eps: Positive = 8 / 255,
    norm: Norm = "linf",
    attack: str = ATTACK,
) -> Method:
    """Decoupled adversarial contrastive learning (Zhang et al. 2022), the second stage: distillation.

    Minimises ``-cos(s(x), t(x)) - gamma cos(s(x_adv), s(x))`` where ``x_adv`` climbs ``-cos(s(x_adv), t(x))``.

    Args:
        gamma: weight of robustness.
        tokens, distance: what is compared, and how; the pooled feature by its cosine as published.
        attack: spec of the inner attack, which makes the images of ``x_adv``.
        eps, norm: its budget.
    """
    far = Distance(tokens, distance, known(encoder, source, distance))

    def loss(seen: Seen) -> Tensor:
        return far(seen.clean, seen.anchor) + gamma * far(seen.attacked, seen.clean)

    return Distillation(encoder, Inner(attack, eps, norm), loss, clean=True)


_CIFAR = {
    "epochs": 100,
    "batch": 256,
    "optimiser": "sgd",
    "lr": 0.5,
    "lr_batch": 256,
    "momentum": 0.9,
    "decay": 5e-4,
    "warmup": 0.1,
    "warmup_from": 0.006,
    "schedule": "cosine",
    "rate_by": "epoch",
    "clip": 0.0,
    "augment": "crop",
    "mode": "train",
    "precision": "32-true",
    "gamma": 2.0,
    "eps": 8 / 255,
    "attack": ATTACK,
}
"""Of the release (github.com/pantheon5100/DeACL, DeACL_cifar10_resnet18.sh and the defaults of its program); the rate
of its warm-up begins at .003."""
_IMAGENET = {**_CIFAR, "lr": 0.05, "warmup_from": 0.06, "eps": 4 / 255, "augment": "resized", "mode": "eval"}
"""As the paper's authors tuned DINO on ImageNet (arXiv 2407.12588, 2024): a tenth of the rate, half of the budget; what
they do not say is as in cifar."""

TRAITS = TuningTraits(presets={"cifar": _CIFAR, "imagenet": _IMAGENET})
