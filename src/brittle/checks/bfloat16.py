"""The attack loses nothing by running in bfloat16. If it does, its gradients are too coarse for this model: report the
number with --precision fp32."""

import torch
from torch import Tensor

from brittle.checks.parts.evidence import Evidence, exceeds
from brittle.core.records import Finding
from brittle.core.traits import CheckTraits
from brittle.core.tree import tree
from brittle.types.rng import Rng

ALIKE = 0.8  # cosine of two gradients that still lead to the same place: from there on differences are luck


def bfloat16(evidence: Evidence, /) -> Finding:
    """The attack on the sample again in float32: ``fail`` where it does clearly more damage, ``warn`` where that may be
    luck, unless the gradients of the two, at the clean images and at random starts, agree everywhere."""
    if evidence.precision == "fp32":
        return Finding("bfloat16", "ok", None, "the attack ran in float32")
    damage = evidence.judge(evidence.again(evidence.batch, precision="fp32")).damage
    more, verdict = exceeds(damage, evidence.hit.damage, evidence.unit)
    why, agreement = evidence.beside("float32", damage), _agreement(evidence)
    if agreement:
        same, cosine = agreement
        verdict = "ok" if verdict == "warn" and cosine.min() >= ALIKE else verdict
        least = f"{cosine.min():.3f} at least"
        why += f"; {same.mean():.1%} of the gradient keep their sign, its cosine is {cosine.mean():.3f} ({least})"
    return Finding("bfloat16", verdict, more, why)


def _agreement(evidence: Evidence) -> tuple[Tensor, Tensor] | None:
    """Of the gradients of what the attack climbs first, with those in float32, one value for each image and place: the
    share of the same sign, and the cosine; None where it climbs nothing, or where there is no gradient."""
    climbed = next((part.spec for part in tree("attacks", evidence.attack).walk() if part.kind == "objectives"), None)
    if climbed is None:
        return None
    clean = evidence.batch.images
    places = (clean, evidence.threat.sample(clean, Rng(evidence.seed, evidence.batch.ids, evidence.draws)))

    def slopes(how: str) -> Tensor:
        return torch.cat([evidence.slope(images, climbed, how).flatten(1).double() for images in places])

    fine, coarse = slopes("fp32"), slopes("bf16")
    there = fine.abs().amax(1) > 0
    if not there.any():
        return None
    lengths = fine.norm(dim=1) * coarse.norm(dim=1)
    cosine = (fine * coarse).sum(1) / torch.where(lengths > 0, lengths, 1)
    return (fine.sign() == coarse.sign()).double().mean(1)[there], cosine[there]


TRAITS = CheckTraits(evidence="full", tries=lambda attack: [attack])
