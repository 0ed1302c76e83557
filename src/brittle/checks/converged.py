"""The attack has stopped rising at its end. If not, take more steps: the number still falls."""

import numpy as np

from brittle.checks.parts.evidence import Evidence
from brittle.core.records import Finding

RISING = 0.15


def converged(evidence: Evidence, /) -> Finding:
    """``warn`` where the last quarter of the steps still brings more than 15 % of the rise, on the images that are not
    all wrong."""
    if not evidence.climbs:
        return Finding("converged", "unchecked", None, "the attack notes no losses")
    first, late, last, best = (
        evidence.samples[f"loss_{name}"][evidence.left] for name in ("first", "late", "last", "best")
    )
    rise = float(np.nansum(best - first))
    share = float(np.nansum(last - late)) / rise if rise > 0 else 0.0
    verdict = "warn" if share > RISING else "ok"
    why = f"{share:.0%} of the loss's rise came in the last quarter of the steps, where something is left"
    return Finding("converged", verdict, share, why if rise > 0 else "the loss did not rise where something is left")
