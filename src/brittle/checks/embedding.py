"""An attack on the encoder alone does less harm than this one, which sees the head. If not, report the worse of the
two."""

from brittle.checks.parts.evidence import Evidence, exceeds
from brittle.core.records import Finding
from brittle.core.traits import CheckTraits
from brittle.core.tree import tree

ATTACKS = ("embed(tokens=cls, steps=10)", "embed(tokens=grid, steps=10)")


def embedding(evidence: Evidence, /) -> Finding:
    """EmbedAttack with 10 steps on the sample, on the pooled feature and on the patch features: ``fail`` where the
    stronger of them does clearly more damage, ``warn`` where that may be luck."""
    if evidence.headless:
        return Finding("embedding", "ok", None, "this attack looks at no head itself")
    if evidence.model.encoder is None:
        return Finding("embedding", "unchecked", None, "there is no encoder to attack alone")
    damages = {attack: evidence.judge(evidence.again(evidence.batch, attack=attack)).damage for attack in ATTACKS}
    strongest = max(damages, key=lambda attack: float(damages[attack].nanmean()))
    more, verdict = exceeds(damages[strongest], evidence.hit.damage, evidence.unit)
    return Finding("embedding", verdict, more, evidence.beside(strongest, damages[strongest]))


TRAITS = CheckTraits(tries=lambda attack: () if tree("attacks", attack).headless else ATTACKS)
