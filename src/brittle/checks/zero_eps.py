"""With eps 0 the attack returns the image as it was, bit for bit. If not, it loses the clean image on the way: fix the
attack."""

from dataclasses import replace

from brittle.checks.parts.evidence import Evidence
from brittle.core import components
from brittle.core.records import Finding
from brittle.core.traits import CheckTraits

STEPS = 2  # an image that is changed is changed in every step


def zero_eps(evidence: Evidence, /) -> Finding:
    """``fail`` where a value of one image changed, after two steps where the attack has steps to set."""
    batch = evidence.part(1)
    images = evidence.again(batch, eps=0.0, attack=_shorter(str(evidence.attack)))
    gap = float((images - batch.images).abs().max())
    return Finding("zero_eps", "ok" if gap == 0 else "fail", gap, f"eps 0 moves a value of one image by {gap:.1e}")


def _shorter(text: str) -> str:
    full = components.complete("attacks", text)
    fewer = {"steps": min(int(str(full.settings["steps"])), STEPS)} if "steps" in full.settings else {}
    return str(replace(full, settings={**full.settings, **fewer}))


TRAITS = CheckTraits(tries=lambda attack: [_shorter(attack)], on=1)
