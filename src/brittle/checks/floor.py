"""With a huge eps the attack leaves nothing. If not, the model misleads it: what survives is no robustness, try a black
box."""

from torch import Tensor

from brittle.checks.parts.evidence import FEW, Evidence, exceeds
from brittle.core.records import Finding
from brittle.core.traits import CheckTraits
from brittle.types.threat import ORDERS

HUGE = 0.5  # of the range of a value: every image can become grey all over, and almost any other
SPARED, MANY = 0.1, 0.5  # share of right answers that may be left
WORSE = 0.1  # by how much damage must rise at least where the floor is not known


def floor(evidence: Evidence, /) -> Finding:
    """A few images with eps 0.5 (l2, l1: the size of that change everywhere), or twice the threat's where that is more.
    ``fail`` where this does clearly less damage than the threat's own eps; where more than half is still right of what
    is right or wrong (``warn`` above a tenth); and where, for an error in metres or an attack that looks at no head, it
    is not worse than clean by a tenth."""
    few, threat = evidence.few, evidence.threat
    if evidence.blind:
        return Finding("floor", "unchecked", None, "the attack looks at nothing, so no eps leads it to the floor")
    length = few.images[0].numel() ** (1 / ORDERS[threat.norm])
    eps = max(HUGE * length, min(2 * threat.eps, length))
    damage = evidence.judge(evidence.again(few, eps=eps)).damage
    clean, reached = _mean(evidence.clean.damage[: len(damage)]), _mean(damage)
    _, verdict = exceeds(evidence.hit.damage[: len(damage)], damage, evidence.unit)
    if evidence.graded and not evidence.headless:
        verdict = "fail" if 1 - reached > MANY else "warn" if 1 - reached > SPARED and verdict == "ok" else verdict
    elif reached < min(clean + WORSE * evidence.unit, 1 - SPARED if evidence.graded else float("inf")):
        verdict = "fail"
    before, after = (evidence.harm(judged.damage[: len(damage)]) for judged in (evidence.clean, evidence.hit))
    why = f"{before} when clean, {after} attacked, {evidence.harm(damage)} with eps {eps:.3g} ({len(damage)} images)"
    return Finding("floor", verdict, reached, why)


def _mean(values: Tensor) -> float:
    return float(values.nanmean().nan_to_num(0.0))


TRAITS = CheckTraits(tries=lambda attack: [attack], on=FEW)
