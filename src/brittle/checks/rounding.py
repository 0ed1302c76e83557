"""The number survives saving the pictures with 8 bits."""

from collections.abc import Mapping

import numpy as np

from brittle.plan import Finding, Result

TOLERATED = 0.05


def rounding(result: Result, _samples: Mapping[str, np.ndarray], /) -> Finding:
    """``warn`` where the headline metric moves by more than 5 % of its value and of 0.05 once the attacked pictures are 8-bit."""
    name = result.task["headline"]
    exact, saved = result.metrics[name], result.metrics_uint8[name]
    gap = abs(saved - exact)
    verdict = "warn" if gap > TOLERATED * max(abs(exact), 1.0) else "ok"
    return Finding("rounding", verdict, gap, f"{name} {exact:.4f} in float, {saved:.4f} after 8-bit rounding")
