"""An attack that asks for scores only does less harm. If not, gradients mislead this one: report the worse of the
two."""

from brittle.checks.parts.evidence import Evidence, exceeds
from brittle.core.records import Finding
from brittle.core.traits import CheckTraits
from brittle.core.tree import tree

ATTACK = "square(queries=300)"


def blackbox(evidence: Evidence, /) -> Finding:
    """Square Attack (Andriushchenko et al. 2020) with 300 queries on the sample: ``fail`` where it does clearly more
    damage, ``warn`` where that may be luck."""
    if evidence.headless:
        return Finding("blackbox", "unchecked", None, "the attack looks at no head, which the black box asks")
    damage = evidence.judge(evidence.again(evidence.batch, attack=ATTACK)).damage
    more, verdict = exceeds(damage, evidence.hit.damage, evidence.unit)
    return Finding("blackbox", verdict, more, evidence.beside(ATTACK, damage))


TRAITS = CheckTraits(evidence="full", tries=lambda attack: [] if tree("attacks", attack).headless else [ATTACK])
