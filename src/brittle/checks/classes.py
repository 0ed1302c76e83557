"""There are as many classes as the attack's losses ask for. If not, it aimed at all there are: say so beside figures of other work."""

from collections.abc import Iterator

from brittle import spec
from brittle.evidence import Evidence
from brittle.plan import Finding

DLR, TARGETED_DLR = 3, 4  # classes that its denominator needs


def classes(evidence: Evidence, /) -> Finding:
    """``fail`` with one class; ``warn`` where a loss needs more of them or more targets were asked for than there are wrong classes."""
    if not evidence.graded:
        return Finding("classes", "ok", None, "the task has no classes")
    count = evidence.first.shape[1]
    parts = list(_parts("attacks", str(evidence.attack)))
    targets = max((int(str(part.settings["targets"])) for part in parts if "targets" in part.settings), default=0)
    needed = max(((TARGETED_DLR if targets else DLR) for part in parts if part.name == "dlr" and part.settings["normalised"]), default=2)
    if count < needed:
        why = f"{count} classes, DLR needs {needed}: the plain margin was climbed instead" if count > 1 else "there is only one class"
        return Finding("classes", "fail" if count < 2 else "warn", float(count), why)
    if targets > count - 1:
        return Finding("classes", "warn", float(count), f"{targets} target classes asked for, all {count - 1} wrong ones were aimed at")
    return Finding("classes", "ok", float(count), f"{count} classes")


def _parts(kind: str, text: str) -> Iterator[spec.Spec]:
    """A spec, complete, and all those it is made of."""
    full = spec.complete(kind, text)
    yield full
    for part in getattr(spec.module(kind, full.name), "PARTS", ()):
        yield from _parts(kind, part)
    for key, value in full.settings.items():
        for inner in spec.nested(key, value):
            yield from _parts(spec.kind_of(key), inner)
