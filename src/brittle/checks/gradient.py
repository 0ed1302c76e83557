"""The gradient at the pixels is not zero. If it is, something (rounding, saturation) hides it: smooth that, or attack
with a black box."""

import numpy as np

from brittle.checks.parts.evidence import Evidence
from brittle.core.records import Finding

SOME, MANY = 0.005, 0.05


def gradient(evidence: Evidence, /) -> Finding:
    """The share of steps whose gradient was zero everywhere, over all images with something to score; steps on images
    that ended all wrong count as good ones, as there is nothing to climb where nothing is right. ``warn`` above 0.5 %,
    ``fail`` above 5 %."""
    flat = evidence.samples["flat"]
    known = np.isfinite(flat)
    if not known.any():
        return Finding("gradient", "unchecked", None, "the attack takes no gradient, or notes none")
    if evidence.threat.eps == 0:
        return Finding("gradient", "ok", 0.0, "with eps 0 there is nothing to climb")
    share = float(np.where(evidence.left, flat, 0)[known].sum() / known.sum())
    verdict = "fail" if share > MANY else "warn" if share > SOME else "ok"
    return Finding(
        "gradient", verdict, share, f"{share:.1%} of the steps met a gradient of zero on an image not all wrong yet"
    )
