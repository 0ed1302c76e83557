"""There are as many classes as the attack's losses ask for. If not, it aimed at all there are: say so beside figures of
other work."""

from brittle.checks.parts.evidence import Evidence
from brittle.core.records import Finding
from brittle.core.traits import ObjectiveTraits
from brittle.core.tree import tree


def classes(evidence: Evidence, /) -> Finding:
    """``fail`` with one class; ``warn`` where a loss needs more of them or more targets were asked for than there are
    wrong classes."""
    if not evidence.graded:
        return Finding("classes", "ok", None, "the task has no classes")
    count = evidence.first.shape[1]
    attack = tree("attacks", evidence.attack)
    asked = [part.spec.settings["targets"] for part in attack.walk() if "targets" in part.spec.settings]
    targets = max((int(str(number)) for number in asked), default=0)
    needs = [
        (traits.fewest_classes(part.spec.settings, targets > 0), part.spec.name)
        for part, traits in attack.having(ObjectiveTraits)
        if traits.fewest_classes
    ]
    needed, loss = max(needs, default=(2, ""))
    if count < 2:
        return Finding("classes", "fail", float(count), "there is only one class")
    if count < needed:
        why = f"{count} classes, {loss} needs {needed}: the plain margin was climbed instead"
        return Finding("classes", "warn", float(count), why)
    if targets > count - 1:
        why = f"{targets} target classes asked for, all {count - 1} wrong ones were aimed at"
        return Finding("classes", "warn", float(count), why)
    return Finding("classes", "ok", float(count), f"{count} classes")
