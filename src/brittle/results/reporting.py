"""Reports on run folders: the component, handed what it takes beside the results."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from brittle.core import components
from brittle.core.records import Result
from brittle.core.traits import ReportTraits
from brittle.results.store import pictures


def report(name: str, results: Sequence[Result], folders: Sequence[Path]) -> str:
    """The text of a report on these results, which lie in these run folders."""
    made = components.component("reports", name)
    assert isinstance(made.traits, ReportTraits)
    return made.function(results, *([_BESIDE[made.traits.beside](folders)] if made.traits.beside else []))


def _leaders(folders: Sequence[Path]) -> Any:
    from brittle.results.leaders import leaders  # with torch

    return leaders(folders)


_BESIDE: dict[str, Callable[[Sequence[Path]], Any]] = {"pictures": pictures, "leaders": _leaders}
