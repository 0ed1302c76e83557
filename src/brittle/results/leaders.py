"""Which of several results are best: the one of the best score, and all that a paired test does not tell from it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from math import comb
from pathlib import Path

from brittle.core.errors import BrittleError, UsageError
from brittle.core.progress import say
from brittle.core.records import Result
from brittle.planning import identity
from brittle.planning.warm_start import titled
from brittle.reports.parts.answer import trusted, value
from brittle.reports.parts.comparison import LEVEL
from brittle.results.compare import matched, row_key
from brittle.results.paired_tests import paired
from brittle.results.store import folder_of


def leaders(folders: Sequence[Path]) -> Callable[[Sequence[Result]], Collection[str]]:
    """What gives, of results of one task, data set and attack in these run folders (several seeds as one), the ids of
    the best and of all that do not differ from it: p of ``LEVEL`` or more by the paired test on the images of both,
    multiplied by the number of pairs (Bonferroni), as which one is best is seen first. Nothing where fewer than two can
    be compared; why not is said. Numbers of which a check failed are left out."""

    def found(results: Sequence[Result]) -> Collection[str]:
        sound = [result for result in results if trusted(result)]
        if len(sound) < 2:
            return ()
        best = max(sound, key=lambda each: value(each) if each.task["higher_is_better"] else -value(each))
        pairs = comb(len(sound), 2)
        try:
            return [each.id for each in sound if each is best or _p(best, each, folders) * pairs >= LEVEL]
        except BrittleError as error:
            say(f"nothing is called best of {titled(replace(best.cell, encoder='all'))}: {error}")
            return ()

    return found


def _p(first: Result, second: Result, folders: Sequence[Path]) -> float:
    """How often chance would make two results differ as much.

    Raises:
        UsageError: they were not measured alike, or have no seed or no image in common.
        MissingError: there are no per-image samples of one of them.
    """
    if row_key(replace(first.cell, seed=0)) != row_key(replace(second.cell, seed=0)):
        names = " and ".join(dict.fromkeys(f"{each.cell.encoder} ({each.cell.protocol})" for each in (first, second)))
        raise UsageError(f"{names} were not measured alike")
    seeds = [_by_seed(result) for result in (first, second)]
    shared = [tuple(side[seed] for side in seeds) for seed in seeds[0] if seed in seeds[1]]
    if not shared:
        raise UsageError(f"{first.cell.encoder} and {second.cell.encoder} have no seed in common")
    rows = []
    for ids in shared:
        a, b = (replace(result, id=name) for result, name in zip((first, second), ids))
        rows.append(matched(a, b, (folder_of(a.id, folders), folder_of(b.id, folders)), []))
    return paired(identity.task_of(first.cell.task), first.task["headline"], *rows).p


def _by_seed(result: Result) -> dict[int, str]:
    """The ids of the results that one stands for, by their seeds."""
    made = result.made_by
    return dict(zip(made.get("seeds", [result.cell.seed]), made.get("ids", [result.id])))
