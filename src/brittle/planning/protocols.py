"""The protocols by name, and what a spec may set of them; no torch."""

from typing import Any

from brittle.core.errors import UsageError, unknown
from brittle.core.spec import Spec, parse

PROTOCOLS = ("standard",)
SUBSETS = ("balanced", "first")
"""Which images a limit leaves, the default first; see ``brittle.evaluation.subset``."""


def canonical(text: str) -> str:
    """The spec of a protocol without settings left at their defaults, such as ``standard(subset=first)``.

    Raises:
        UsageError: no such protocol, setting or value.
    """
    spec = parse(text)
    if spec.name not in PROTOCOLS:
        raise unknown("protocol", spec.name, PROTOCOLS)
    if spec.argument:
        raise UsageError(f"protocol {text}: {spec.name} takes no argument; write {spec.name}(subset=first)")
    for key, value in spec.settings.items():
        if key != "subset":
            raise unknown(f"setting of protocol {spec.name} called", key, ["subset"])
        if value not in SUBSETS:
            raise unknown("subset", str(value), SUBSETS)
    settings = {key: value for key, value in spec.settings.items() if value != SUBSETS[0]}
    return str(Spec(spec.name, "", settings))


def subset_rule(text: str) -> Any:
    """Which images a limit leaves under a protocol."""
    return parse(text).settings.get("subset", SUBSETS[0])
