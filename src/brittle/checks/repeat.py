"""The same image gets the same prediction, again and alone. If not, it is random or looks at its batch: attack its
expectation."""

import torch

from brittle.checks.parts.evidence import Evidence
from brittle.core.records import Finding

AGAIN, ALONE = 1e-4, 2e-2  # of the predictions' spread: rounding, which depends on how many images are computed at once


def repeat(evidence: Evidence, /) -> Finding:
    """A few clean images as they were predicted at first, as they are now, after all other checks, and one by
    one. ``fail`` where they differ by more than rounding: random output, dropout, statistics of the batch, a state that
    changes with every call."""
    first, images = evidence.first, evidence.few.images
    now = evidence.predict(images)
    alone = torch.cat([evidence.predict(image) for image in images.split(1)])
    scale = max(float(first.std()), 1e-3 * float(first.abs().max()), 1e-12)
    again, apart = (float((other - first).abs().max()) / scale for other in (now, alone))
    verdict = "ok" if again <= AGAIN and apart <= ALONE else "fail"
    return Finding(
        "repeat",
        verdict,
        max(again, apart),
        f"predictions differ by {again:.1e} of their spread when made again, {apart:.1e} alone",
    )
