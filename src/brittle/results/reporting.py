"""Reports on run folders: the component, handed what it takes beside the results."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from brittle.core import components
from brittle.core.errors import UsageError
from brittle.core.records import Result
from brittle.core.traits import ReportTraits
from brittle.results.store import pictures


def report(name: str, results: Sequence[Result], folders: Sequence[Path], per_image: bool = False) -> str:
    """The text of a report on these results, which lie in these run folders; with a row for each image on request.

    Raises:
        UsageError: it has no rows for images.
    """
    made = components.component("reports", name)
    assert isinstance(made.traits, ReportTraits)
    if per_image:
        if made.traits.per_image is None:
            raise UsageError(f"--per-image: {name} has no rows for images; take --format csv")
        from brittle.results.per_image import image_scores  # with torch

        return made.traits.per_image(results, image_scores(folders))
    return made.function(results, *([_BESIDE[made.traits.beside](folders)] if made.traits.beside else []))


def _leaders(folders: Sequence[Path]) -> Any:
    from brittle.results.leaders import leaders  # with torch

    return leaders(folders)


_BESIDE: dict[str, Callable[[Sequence[Path]], Any]] = {"pictures": pictures, "leaders": _leaders}
