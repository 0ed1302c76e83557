"""An attack on the encoder alone does less harm than this one, which sees the head. If not, report the worse of the
two."""

from brittle.checks.parts.evidence import Evidence, exceeds
from brittle.core.records import Finding

ATTACK = "embed(steps=10)"


def embedding(evidence: Evidence, /) -> Finding:
    """EmbedAttack with 10 steps on the sample: ``fail`` where it does clearly more damage, ``warn`` where that may be
    luck."""
    if evidence.headless:
        return Finding("embedding", "ok", None, "this attack looks at no head itself")
    if evidence.model.encoder is None:
        return Finding("embedding", "unchecked", None, "there is no encoder to attack alone")
    damage = evidence.judge(evidence.again(evidence.batch, attack=ATTACK)).damage
    more, verdict = exceeds(damage, evidence.hit.damage, evidence.unit)
    return Finding("embedding", verdict, more, evidence.beside(ATTACK, damage))
