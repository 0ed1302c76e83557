"""Twice the steps and five times the restarts change little. If they do, the attack was too short: report the number
with more."""

from brittle.checks.parts.evidence import Evidence, exceeds
from brittle.core import components, spec
from brittle.core.records import Finding
from brittle.core.traits import CheckTraits

FACTORS = {"steps": 2, "queries": 2, "restarts": 5}
LITTLE, MUCH = 5, 0.1  # times the largest difference that counts as none; share of damage


def steps(evidence: Evidence, /) -> Finding:
    """The sample again with more of everything: ``fail`` where that clearly does over 10 % more damage, ``warn`` over 5
    %."""
    harder = _harder("attacks", str(evidence.attack))
    if harder == str(evidence.attack):
        return Finding("steps", "unchecked", None, "the attack has neither steps nor restarts to set")
    damage = evidence.judge(evidence.again(evidence.batch, attack=harder)).damage
    more, verdict = exceeds(damage, evidence.hit.damage, LITTLE * evidence.unit)
    verdict = "warn" if verdict == "fail" and more <= MUCH * evidence.unit else verdict
    return Finding("steps", verdict, more, evidence.beside(components.canonical("attacks", harder), damage))


def _harder(kind: str, text: str) -> str:
    full = components.complete(kind, text)
    settings: dict[str, spec.Value] = {}
    for key, value in full.settings.items():
        factor = FACTORS.get(key, 1)
        settings[key] = (
            value * factor if isinstance(value, int) and factor > 1 else components.rewritten(key, value, _harder)
        )
    return str(spec.Spec(full.name, full.argument, settings))


TRAITS = CheckTraits(evidence="full", tries=lambda attack: [_harder("attacks", attack)])
