"""The attack loses nothing by running in bfloat16. If it does, its gradients are too coarse for this model: report the
number with --precision fp32."""

import torch
from torch import Tensor

from brittle.checks.parts.evidence import Evidence, exceeds
from brittle.core.records import Finding
from brittle.core.traits import CheckTraits
from brittle.core.tree import tree
from brittle.types.rng import Rng


def bfloat16(evidence: Evidence, /) -> Finding:
    """The attack on the sample again in float32: ``fail`` where it does clearly more damage, ``warn`` where that may be
    luck. How far the gradients of the two agree is said beside it."""
    if evidence.precision == "fp32":
        return Finding("bfloat16", "ok", None, "the attack ran in float32")
    damage = evidence.judge(evidence.again(evidence.batch, precision="fp32")).damage
    more, verdict = exceeds(damage, evidence.hit.damage, evidence.unit)
    return Finding("bfloat16", verdict, more, evidence.beside("float32", damage) + _agreement(evidence))


def _agreement(evidence: Evidence) -> str:
    """In words: how far the gradients of what the attack climbs first agree with those in float32, at the clean images
    and at random starts; nothing where it climbs nothing, or where there is no gradient."""
    climbed = next((part.spec for part in tree("attacks", evidence.attack).walk() if part.kind == "objectives"), None)
    if climbed is None:
        return ""
    clean = evidence.batch.images
    places = (clean, evidence.threat.sample(clean, Rng(evidence.seed, evidence.batch.ids)))

    def slopes(how: str) -> Tensor:
        return torch.cat([evidence.slope(images, climbed, how).flatten(1).double() for images in places])

    fine, coarse = slopes("fp32"), slopes("bf16")
    there = fine.abs().amax(1) > 0
    if not there.any():
        return ""
    lengths = fine.norm(dim=1) * coarse.norm(dim=1)
    cosine = ((fine * coarse).sum(1) / torch.where(lengths > 0, lengths, 1))[there]
    same = (fine.sign() == coarse.sign()).double().mean(1)[there]
    least = f"{cosine.min():.3f} at least"
    return f"; {same.mean():.1%} of the gradient keep their sign, its cosine is {cosine.mean():.3f} ({least})"


TRAITS = CheckTraits(evidence="full")
