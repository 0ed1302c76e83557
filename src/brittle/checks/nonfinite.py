"""The model's predictions on clean images are numbers. If not, fix its weights or its input range: no score of it means
anything."""

from brittle.checks.parts.evidence import Evidence
from brittle.core.records import Finding


def nonfinite(evidence: Evidence, /) -> Finding:
    """``fail`` where a clean prediction or its loss is nan or inf; on attacked images that stops the measurement
    itself."""
    bad = int((~evidence.first.isfinite()).sum() + (~evidence.clean.loss.isfinite()).sum())
    why = (
        f"{bad} clean values are nan or inf"
        if bad
        else f"all clean predictions are finite ({len(evidence.clean.loss)} images looked at)"
    )
    return Finding("nonfinite", "fail" if bad else "ok", float(bad), why)
