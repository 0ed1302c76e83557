"""A larger eps does more harm. If not, the attack fails at one of them: do not trust the number, look at its step and
its gradient."""

from brittle.checks.parts.evidence import Evidence, exceeds
from brittle.core.records import Finding
from brittle.core.traits import CheckTraits


def monotone(evidence: Evidence, /) -> Finding:
    """The sample with half and twice eps: ``fail`` where the smaller does clearly more damage, ``warn`` where that may
    be luck."""
    if evidence.blind:
        return Finding("monotone", "unchecked", None, "the attack looks at nothing, so what it does is luck")
    eps = evidence.threat.eps
    half, double = (evidence.judge(evidence.again(evidence.batch, eps=factor * eps)).damage for factor in (0.5, 2))
    comparisons = [
        exceeds(half, evidence.hit.damage, evidence.unit),
        exceeds(evidence.hit.damage, double, evidence.unit),
    ]
    fall, verdict = max(comparisons, key=lambda pair: (("unchecked", "ok", "warn", "fail").index(pair[1]), pair[0]))
    levels = [evidence.harm(damage) for damage in (half, evidence.hit.damage, double)]
    return Finding("monotone", verdict, fall, "{} with half of eps, {} with eps, {} with twice eps".format(*levels))


TRAITS = CheckTraits(evidence="full", tries=lambda attack: [attack, attack])
