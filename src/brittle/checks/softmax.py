"""The model returns logits. If they are probabilities, the loss of a second softmax saturates: take the softmax off the
model."""

from brittle.checks.parts.evidence import Evidence
from brittle.core.records import Finding

CLOSE = 1e-3


def softmax(evidence: Evidence, /) -> Finding:
    """``fail`` where every prediction is in [0, 1] and sums to 1 over the classes."""
    if not evidence.graded:
        return Finding("softmax", "ok", None, "the task has no classes")
    sums = evidence.first.sum(1)
    off = float((sums - 1).abs().max())
    shares = bool((evidence.first >= 0).all()) and off < CLOSE
    why = f"predictions are {'' if shares else 'not '}all in [0, 1] with a sum of 1 over the classes"
    return Finding("softmax", "fail" if shares else "ok", off, why)
