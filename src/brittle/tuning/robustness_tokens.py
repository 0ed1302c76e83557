"""Robustness tokens: a few tokens more at the input of a transformer, which alone are trained."""

import torch
from torch import Tensor

from brittle.core.traits import TuningTraits
from brittle.encoders.parts.extra_tokens import extended
from brittle.tuning.parts.distance import Distance, Measure, Tokens
from brittle.tuning.parts.inner import Inner
from brittle.tuning.parts.method import Distillation, Method, Seen, known
from brittle.tuning.parts.source import Source
from brittle.types import AtLeastOne, Encoder, Positive
from brittle.types.rng import seed_of
from brittle.types.threat import Norm

ATTACK = "pgd(objective=embedding(tokens=all, distance=cosine), steps=5, step=0.25, keep=last)"
WIDE = 0.02  # standard deviation of tokens at the start; equal ones would stay equal


def robustness_tokens(
    encoder: Encoder,
    source: Source,
    /,
    *,
    count: AtLeastOne = 10,
    tokens: Tokens = "all",
    distance: Measure = "cosine",
    eps: Positive = 8 / 255,
    norm: Norm = "linf",
    attack: str = ATTACK,
) -> Method:
    """Robustness tokens (Pulfer et al. 2024, arXiv 2503.10191): only they are trained, every other weight stays.

    Minimises ``d(s(x), t(x)) + d(s(x_adv), t(x))`` where ``x_adv`` climbs the latter: it is attacked with its tokens,
    while the release attacks the teacher, who has none. The student begins near its teacher but not equal to it, as
    even a token of zeros takes a share of the attention.

    Args:
        count: tokens; features leave them out.
        tokens, distance: what is compared, and how; the CLS token and the patches by their cosines, of which the
            release takes that over tokens in each dimension.
        attack: spec of the inner attack, which makes the images of ``x_adv``.
        eps, norm: its budget.

    Raises:
        UsageError: the encoder is no plain vision transformer of timm.
    """
    far = Distance(tokens, distance, known(encoder, source, distance))

    def loss(seen: Seen) -> Tensor:
        return far(seen.clean, seen.anchor) + far(seen.attacked, seen.anchor)

    method = Distillation(encoder, Inner(attack, eps, norm), loss, clean=True)
    generator = torch.Generator().manual_seed(seed_of(source.seed, "robustness tokens"))
    start = WIDE * torch.randn(count, encoder.dim, generator=generator)
    method.student = extended(method.student.requires_grad_(False), start)
    return method


_DINOV2 = {
    "steps": 50,
    "batch": 8,
    "optimiser": "adamw",
    "lr": 1e-3,
    "decay": 0.0,
    "warmup": 0.0,
    "schedule": "constant",
    "clip": 0.0,
    "augment": "none",
    "eps": 8 / 255 * 0.226,
    "attack": "pgd(objective=embedding(tokens=all, distance=cosine), steps=30, step=0.32, keep=last)",
}
"""Of the release (github.com/BrianPulfer/robustness-tokens, configs/train and src/attacks/pgd.py), whose Adam has no
decay, and whose eps of 8/255 and steps of .01 are of pixels over ImageNet's standard deviation, .226."""

TRAITS = TuningTraits(presets={"dinov2": _DINOV2})
