"""The attack gets above where it started. If not, its direction or its step is wrong: try another step or objective, or
fix the attack."""

import numpy as np

from brittle.checks.parts.evidence import Evidence, exceeds
from brittle.core.records import Finding

SOME, MANY = 0.05, 0.5


def start(evidence: Evidence, /) -> Finding:
    """``fail`` where the best iterate of more than half of the images not all wrong is the first one (``warn`` above 5
    %), or where the task's loss is clearly lower after the attack than before."""
    first, best = evidence.samples["loss_first"], evidence.samples["loss_best"]
    known = np.isfinite(first) & evidence.left
    if not evidence.climbs:
        return Finding("start", "unchecked", None, "the attack notes no losses")
    if not (known.any() and evidence.threat.eps > 0):
        return Finding("start", "ok", 0.0, "nothing is left to climb")
    stuck = float((best <= first)[known].mean())
    fell, verdict = exceeds(evidence.clean.loss, evidence.hit.loss, float(evidence.clean.loss.abs().mean()))
    if verdict != "fail" and stuck > SOME:
        verdict = "fail" if stuck > MANY else "warn"
    change = f"{'fell' if fell > 0 else 'rose'} by {abs(fell):.3g} from the clean to the attacked images"
    why = f"the task's loss {change}; {stuck:.1%} of the images not all wrong had no iterate above their first"
    return Finding("start", verdict, stuck, why)
