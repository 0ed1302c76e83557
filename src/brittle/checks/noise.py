"""Random noise of the same budget does less harm than the attack. If not, the attack has failed: the number is no
robustness."""

from brittle.checks.parts.evidence import Evidence, exceeds
from brittle.core.records import Finding
from brittle.core.traits import CheckTraits

ATTACK = "noise"


def noise(evidence: Evidence, /) -> Finding:
    """``fail`` where noise does clearly more damage, ``warn`` where that may be luck or only its loss is higher."""
    random = evidence.judge(evidence.again(evidence.batch, attack=ATTACK))
    more, verdict = exceeds(random.damage, evidence.hit.damage, evidence.unit)
    higher, doubt = exceeds(random.loss, evidence.hit.loss, float(evidence.hit.loss.abs().mean()))
    if verdict == "ok" and doubt in ("warn", "fail"):
        verdict = "warn"
    losses = f"its loss is {abs(higher):.3g} {'higher' if higher > 0 else 'lower'}"
    return Finding("noise", verdict, more, f"{evidence.beside('noise', random.damage)}; {losses}")


TRAITS = CheckTraits(tries=lambda _attack: [ATTACK])
