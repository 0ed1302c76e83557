"""The attack kept its budget: re-measured in float64 on what it returned. If not, the attack is broken: do not use the
number."""

from brittle.checks.parts.evidence import Evidence
from brittle.core.records import Finding


def budget(evidence: Evidence, /) -> Finding:
    """``ok`` at most 1e-6 outside the ball and the box (rounding in float32)."""
    worst = float(evidence.samples["violation"].max())
    verdict = "ok" if worst <= 1e-6 else "fail"
    return Finding(
        "budget", verdict, worst, f"largest violation {worst:.1e} over {len(evidence.samples['violation'])} images"
    )
