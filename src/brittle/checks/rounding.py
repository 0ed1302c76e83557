"""The number survives saving the images with 8 bits. If not, it is about changes no file can hold: report the rounded
number."""

from brittle.checks.parts.evidence import Evidence
from brittle.core.records import Finding

TOLERATED = 0.05


def rounding(evidence: Evidence, /) -> Finding:
    """``warn`` where the headline metric moves by more than 5 % of its value and of 0.05 once the attacked images are
    8-bit."""
    name = evidence.task.headline
    exact, saved = evidence.metrics[name], evidence.metrics_uint8[name]
    gap = abs(saved - exact)
    verdict = "warn" if gap > TOLERATED * max(abs(exact), 1.0) else "ok"
    return Finding("rounding", verdict, gap, f"{name} {exact:.4f} in float, {saved:.4f} after 8-bit rounding")
