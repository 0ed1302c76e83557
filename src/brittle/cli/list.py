"""``brittle list``: the components of each kind."""

from typing import Annotated

import typer

from brittle.core import components
from brittle.core.errors import unknown
from brittle.core.text import show
from brittle.planning import plan


def list_(
    kind: Annotated[str | None, typer.Argument(help="encoders, datasets, tasks, attacks, plans ...")] = None,
) -> None:
    """List components of a kind, or of all."""
    kinds = (*components.KINDS, "plans")
    if kind is not None and kind not in kinds:
        raise unknown("kind", kind, kinds)
    for shown in (kind,) if kind else kinds:
        if kind is None:
            show(f"{shown}:")
        lead = "" if kind else "  "
        names = plan.packaged() if shown == "plans" else components.names(shown)
        for name in names:
            show(f"{lead}{name:17} {'' if shown == 'plans' else components.summary(shown, name)}".rstrip())
