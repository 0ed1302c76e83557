"""The attack kept its budget: re-measured in float64 on what it returned."""

from collections.abc import Mapping

import numpy as np

from brittle.plan import Finding, Result


def budget(result: Result, samples: Mapping[str, np.ndarray], /) -> Finding:
    """``ok`` at most 1e-6 outside the ball and the box (rounding in float32)."""
    worst = float(samples["violation"].max())
    verdict = "ok" if worst <= 1e-6 else "fail"
    return Finding("budget", verdict, worst, f"largest violation {worst:.1e} over {result.images} images")
