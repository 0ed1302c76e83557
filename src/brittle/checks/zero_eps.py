"""With eps 0 the attack returns the picture as it was, bit for bit. If not, it loses the clean picture on the way: mend the attack."""

from dataclasses import replace

from brittle.evidence import Evidence
from brittle.plan import Finding

STEPS = 2  # what is lost is lost in each


def zero_eps(evidence: Evidence, /) -> Finding:
    """``fail`` where a value of one picture changed, after two steps where the attack has steps to set."""
    one, settings = evidence.part(1), evidence.attack.settings
    fewer = {"steps": min(int(str(settings["steps"])), STEPS)} if "steps" in settings else {}
    images = evidence.again(one, eps=0.0, attack=replace(evidence.attack, settings={**settings, **fewer}))
    gap = float((images - one.images).abs().max())
    return Finding("zero_eps", "ok" if gap == 0 else "fail", gap, f"eps 0 moves a value of one picture by {gap:.1e}")
