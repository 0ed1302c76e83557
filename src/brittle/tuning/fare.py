"""FARE: attacked images keep the features that the frozen teacher has of the clean ones."""

from torch import Tensor

from brittle.core.traits import TuningTraits
from brittle.tuning.parts.distance import Distance, Measure, Tokens
from brittle.tuning.parts.inner import EMBEDDING, Inner
from brittle.tuning.parts.method import Distillation, Method, Seen, known
from brittle.tuning.parts.source import Source
from brittle.types import Encoder, NotNegative, Positive
from brittle.types.threat import Norm


def fare(
    encoder: Encoder,
    source: Source,
    /,
    *,
    clean: NotNegative = 0.0,
    tokens: Tokens = "cls",
    distance: Measure = "l2",
    eps: Positive = 8 / 255,
    norm: Norm = "linf",
    attack: str = EMBEDDING,
) -> Method:
    """Unsupervised adversarial fine-tuning of the embedding (Schlarmann et al. 2024).

    Minimises ``|s(x_adv) - t(x)|^2``, summed over dimensions, where ``x_adv`` climbs the same.

    Args:
        clean: weight of ``|s(x) - t(x)|^2`` beside it; none as published.
        tokens, distance: what is compared, and how; the pooled feature as published.
        attack: spec of the inner attack, which makes the images of ``x_adv``.
        eps, norm: its budget.
    """
    far = Distance(tokens, distance, known(encoder, source, distance))

    def loss(seen: Seen) -> Tensor:
        near = far(seen.attacked, seen.anchor)
        return near + clean * far(seen.clean, seen.anchor) if clean else near

    return Distillation(encoder, Inner(attack, eps, norm), loss, clean=clean > 0)


_RELEASE = {
    "steps": 20_000,
    "batch": 128,
    "optimiser": "adamw",
    "lr": 1e-5,
    "decay": 1e-4,
    "warmup": 0.07,
    "warmup_from": 1 / 1400,
    "schedule": "cosine",
    "clip": 0.0,
    "augment": "none",
    "eps": 4 / 255,
    "attack": "pgd(objective=embedding(tokens=cls), steps=10, step=0.25, keep=last)",
}
"""CLIP on ImageNet, ten steps of 1/255; of the release (github.com/chs20/RobustVLM, README)."""
_SMALL = {**_RELEASE, "eps": 2 / 255, "attack": "pgd(objective=embedding(tokens=cls), steps=10, step=0.5, keep=last)"}
"""As fare4, with half of the budget."""
_FAST = {
    "steps": 2400,
    "batch": 32,
    "lr": 2e-3,
    "warmup": 0.06,
    "augment": "resized",
    "eps": 12 / 255,
    "attack": "pgd(objective=embedding(tokens=cls), steps=1, step=1.0, keep=last)",
}
"""Ours, for many steps in a short time: embedded:robust was made with it (docs/robust-tuning.md). A single step of the
whole budget from a random start is enough (of supervised training: Wong, Rice and Kolter 2020)."""

TRAITS = TuningTraits(presets={"fare4": _RELEASE, "fare2": _SMALL, "fast": _FAST})
