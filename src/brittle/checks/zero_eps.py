"""With eps 0 the attack returns the image as it was, bit for bit. If not, it loses the clean image on the way: fix the
attack."""

from dataclasses import replace

from brittle.checks.parts.evidence import Evidence
from brittle.core.records import Finding

STEPS = 2  # an image that is changed is changed in every step


def zero_eps(evidence: Evidence, /) -> Finding:
    """``fail`` where a value of one image changed, after two steps where the attack has steps to set."""
    batch, settings = evidence.part(1), evidence.attack.settings
    fewer = {"steps": min(int(str(settings["steps"])), STEPS)} if "steps" in settings else {}
    images = evidence.again(batch, eps=0.0, attack=replace(evidence.attack, settings={**settings, **fewer}))
    gap = float((images - batch.images).abs().max())
    return Finding("zero_eps", "ok" if gap == 0 else "fail", gap, f"eps 0 moves a value of one image by {gap:.1e}")
