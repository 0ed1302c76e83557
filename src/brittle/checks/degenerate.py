"""Predictions tell images apart. If all are one class or one value, the model has collapsed: its score is chance, fix
the model."""

from torch import Tensor

from brittle.checks.parts.evidence import Evidence
from brittle.core.records import Finding

SAME = 1e-4  # of the largest value: how little a prediction may vary between images
WRONG = 0.5


def degenerate(evidence: Evidence, /) -> Finding:
    """``fail`` where all clean predictions are the same, or one class that is mostly wrong; ``warn`` where the attack
    drives all images to one answer, as images for which that answer is right are then out of its reach."""
    if _constant(evidence.first):
        return Finding("degenerate", "fail", 1.0, "all clean images get the same prediction")
    if not evidence.graded:
        same = _constant(evidence.predict(evidence.images[: len(evidence.first)]))
        why = f"attacked images get {'the same prediction' if same else 'unlike predictions'}"
        return Finding("degenerate", "warn" if same else "ok", None, why)
    before, after = len(evidence.clean.classes), len(evidence.hit.classes)
    wrong = float(evidence.clean.damage.nanmean().nan_to_num(0.0))
    verdict = "fail" if before == 1 and wrong >= WRONG else "warn" if after == 1 < before else "ok"
    why = f"{before} classes are predicted on clean images, {after} on attacked"
    return Finding("degenerate", verdict, float(min(before, after)), why)


def _constant(prediction: Tensor) -> bool:
    return len(prediction) > 1 and float(prediction.std(0).max()) <= SAME * float(prediction.abs().max())
