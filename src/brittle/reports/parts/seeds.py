"""One number for results that differ in nothing but the seed: their mean, and how far they spread."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev

from brittle.core.records import Result

SAME = ("weights_sha256", "data_sha256", "basis", "precision")


def over_seeds(results: Sequence[Result]) -> list[Result]:
    """The results, those of several seeds as one in the place of the first: metrics are means over the seeds, and so
    are the ends of intervals, which are over images; ``made_by`` gains ``seeds``, the ``ids`` of their results, and
    ``spread``, the standard deviation of each metric over them (n - 1). What failed stays by itself, and so does what
    holds a seed twice."""
    groups: dict[object, list[Result]] = {}
    for result in results:
        origin = tuple(str(result.made_by.get(name)) for name in SAME)
        key = (replace(result.cell, seed=0), origin) if result.failed is None else result.id
        groups.setdefault(key, []).append(result)
    return [one for group in groups.values() for one in _merged(group)]


def _merged(group: Sequence[Result]) -> Iterator[Result]:
    first, ids = group[0], dict(sorted((result.cell.seed, result.id) for result in group))
    seeds = list(ids)
    if len(group) == 1 or len(ids) < len(group):
        yield from group
        return
    spread = {name: stdev(values) for name, values in _by_name([result.metrics for result in group]).items()}
    ends = [_by_name([{k: v[end] for k, v in result.intervals.items()} for result in group]) for end in (0, 1)]
    low, high = ({name: fmean(values) for name, values in each.items()} for each in ends)
    yield replace(
        first,
        metrics={name: fmean(values) for name, values in _by_name([result.metrics for result in group]).items()},
        metrics_uint8={k: fmean(v) for k, v in _by_name([result.metrics_uint8 for result in group]).items()},
        intervals={name: (low[name], high[name]) for name in low},
        findings=[finding for result in group for finding in result.findings],
        cost={name: sum(values) for name, values in _by_name([result.cost for result in group]).items()},
        made_by={**first.made_by, "seeds": seeds, "ids": list(ids.values()), "spread": spread},
        curve=(),
    )


def _by_name(each: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """The values of each name that all have."""
    return {name: [one[name] for one in each] for name in each[0] if all(name in one for one in each)}
