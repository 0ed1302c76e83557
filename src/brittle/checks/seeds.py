"""Another seed of the random starts gives about the same. If not, the attack depends on luck: take more restarts or the
worst of seeds."""

from brittle.checks.parts.evidence import Evidence, exceeds
from brittle.core.records import Finding
from brittle.core.traits import CheckTraits


def seeds(evidence: Evidence, /) -> Finding:
    """The sample with the next seed: ``warn`` where damage differs clearly, in either direction."""
    damage = evidence.judge(evidence.again(evidence.batch, seed=evidence.seed + 1)).damage
    pairs = [(damage, evidence.hit.damage), (evidence.hit.damage, damage)]
    gap, verdict = max((exceeds(left, right, evidence.unit) for left, right in pairs), key=lambda pair: pair[0])
    clear = verdict == "fail"
    why = evidence.beside("another seed", damage)
    return Finding("seeds", "warn" if clear else "ok", gap, why)


TRAITS = CheckTraits(evidence="full", tries=lambda attack: [attack])
