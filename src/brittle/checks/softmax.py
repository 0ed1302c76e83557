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
    why = "the model's outputs are probabilities: none is negative, and over the classes they sum to 1"
    if not shares:
        seen = f"over the classes they sum to as much as {off:.3g} from 1" if off >= CLOSE else "some are negative"
        why = f"the model's outputs are no probabilities: {seen}"
    return Finding("softmax", "fail" if shares else "ok", off, why)
