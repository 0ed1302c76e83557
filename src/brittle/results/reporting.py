"""Reports on run folders: the component, handed what it takes beside the results."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from brittle.core import components
from brittle.core.errors import UsageError
from brittle.core.progress import say
from brittle.core.records import Result
from brittle.core.traits import ReportTraits
from brittle.results.store import Store, pictures

REPORTS = ("md", "csv", "json", "html")  # written into every run folder


def report(
    name: str, results: Sequence[Result], folders: Sequence[Path], per_image: bool = False, per_class: bool = False
) -> str:
    """The text of a report on these results, which lie in these run folders; with a row for each image, or for each
    class, on request.

    Raises:
        UsageError: it has no rows for images or for classes, or both are asked for.
    """
    made, traits = components.component("reports", name), traits_of(name)
    if per_image and per_class:
        raise UsageError("--per-image and --per-class: a row is for one of both; leave one out")
    if per_image:
        if traits.per_image is None:
            raise UsageError(f"--per-image: {name} has no rows for images; take --format csv")
        from brittle.results.per_image import image_scores  # with torch

        return traits.per_image(results, image_scores(folders))
    if per_class:
        if traits.per_class is None:
            raise UsageError(f"--per-class: {name} has no rows for classes; take --format csv")
        return traits.per_class(results, _spreads(folders))
    return made.function(results, *(_BESIDE[each](folders) for each in traits.beside))


def write(store: Store, results: Sequence[Result]) -> None:
    """Write the reports of a run into its folder. One that cannot be built costs no results: it is said, and an older
    one, which would show other numbers, is taken away."""
    for kind in REPORTS:
        name = f"report/report.{kind}"
        try:
            text = report(kind, results, [store.root])
        except Exception as error:
            say(" ".join(f"warning: no {name}: {type(error).__name__}: {error}".split()), always=True)
            (store.root / name).unlink(missing_ok=True)
        else:
            store.note(name, text)


def figures(name: str, results: Sequence[Result], folders: Sequence[Path]) -> Mapping[str, Any]:
    """The figures of a report on these results, by the names of their files; none where it has none.

    Raises:
        UsageError: matplotlib is not installed.
    """
    traits = traits_of(name)
    return traits.figures(results, *(_BESIDE[each](folders) for each in traits.beside)) if traits.figures else {}


def traits_of(name: str) -> ReportTraits:
    """What a report can do."""
    traits = components.component("reports", name).traits
    assert isinstance(traits, ReportTraits)
    return traits


def _leaders(folders: Sequence[Path]) -> Any:
    from brittle.results.leaders import leaders  # with torch

    return leaders(folders)


def _spreads(folders: Sequence[Path]) -> Any:
    from brittle.results.per_image import spreads  # with torch

    return spreads(folders)


_BESIDE: dict[str, Callable[[Sequence[Path]], Any]] = {"pictures": pictures, "leaders": _leaders, "spreads": _spreads}
