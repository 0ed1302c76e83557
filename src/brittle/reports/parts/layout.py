"""Results laid out as the paper's table: a row for each task, data set and encoder, a column for the clean number and
each attack."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from brittle.core.budget import eps_text
from brittle.core.records import Result
from brittle.planning.warm_start import smaller, unwrapped
from brittle.planning.words import DOWNSTREAM
from brittle.reports.parts.seeds import over_seeds

GAP = "–"


class Row(NamedTuple):
    """One row: task, data set, encoder and metric, and the results by column."""

    task: str
    dataset: str
    encoder: str
    metric: str
    results: dict[str, Result]


def layout(results: Sequence[Result]) -> tuple[list[str], list[Row]]:
    """Columns and rows. The task's own attack goes under ``downstream`` where the plan says so; eps and norm are named
    where there is more than one, and a warm start where a column would hold numbers with and without it. Numbers of
    other weights, data or versions are in rows of their own, named by what they do not share; those of several seeds
    are one."""
    results = over_seeds(results)
    several = {name: len({_shown(result, name) for result in results}) > 1 for name in ("seed", "limit", "protocol")}
    origins = origins_of(results)
    columns: dict[str, None] = {}
    rows: dict[tuple[object, ...], Row] = {}
    placed = sorted(
        zip(results, columns_of(results)), key=lambda pair: (pair[0].cell.attack is not None, pair[0].cell.eps or 0)
    )
    for result, column in placed:
        cell = result.cell
        variant = [f"{name}={_shown(result, name)}" for name, many in several.items() if many]
        encoder = " ".join([cell.encoder, *variant, *filter(None, [origins[result.id]])])
        row = rows.setdefault(
            (cell.task, cell.dataset, encoder), Row(cell.task, cell.dataset, encoder, result.task["headline"], {})
        )
        place = f"{column}{_unlike(row.results[column], result)}" if column in row.results else column
        columns[place] = None
        row.results[place] = result
    order = {key: None for result in results for key in [(result.cell.task, result.cell.dataset)]}
    ranked = sorted(rows.values(), key=lambda row: list(order).index((row.task, row.dataset)))
    ends = [name for name in columns if name.startswith(DOWNSTREAM)]
    return [name for name in columns if name not in ends] + ends, ranked


def _shown(result: Result, name: str) -> str:
    seeds = result.made_by.get("seeds")
    return ",".join(map(str, seeds)) if name == "seed" and seeds else str(getattr(result.cell, name))


def origins_of(results: Sequence[Result]) -> dict[str, str]:
    """By result id, what distinguishes its weights, data or versions from those of other results of the same encoder,
    data and task, such as ``weights=1f0c3a``; empty where there are no others."""
    alike: dict[tuple[object, ...], list[Result]] = {}
    for result in results:
        cell = result.cell
        alike.setdefault((cell.encoder, cell.dataset, cell.task, cell.seed, cell.limit, cell.protocol), []).append(
            result
        )
    return {result.id: _origin(result, group) for group in alike.values() for result in group}


def _origin(result: Result, group: Sequence[Result]) -> str:
    for key, name in (("weights_sha256", "weights"), ("data_sha256", "data"), ("basis", "version")):
        mine = str(result.made_by.get(key, ""))
        # one that failed has none of them, one of an older version no basis
        if mine and len({other.made_by[key] for other in group if other.made_by.get(key)}) > 1:
            return f"{name}={mine[:6]}"
    return ""


def columns_of(results: Sequence[Result]) -> list[str]:
    """The column of each result."""
    cells = [result.cell for result in results]
    several_eps = len({cell.eps for cell in cells if cell.attack}) > 1
    several_norms = len({cell.norm for cell in cells if cell.attack}) > 1
    names: list[str] = []
    for result, cell in zip(results, cells):
        budget = [eps_text(cell.eps, cell.norm) if several_eps else "", (cell.norm or "") if several_norms else ""]
        names.append(" ".join(filter(None, [attack_of(result), *budget])) if cell.attack else "clean")
    starts: dict[str, set[str]] = {}
    for name, cell in zip(names, cells):
        starts.setdefault(name, set()).add(smaller(cell))
    return [f"{name}{_start(smaller(cell), starts[name])}" for name, cell in zip(names, cells)]


def _unlike(first: Result, second: Result) -> str:
    """What distinguishes a second number of the same cell from the first; empty where both are one result."""
    if first.id == second.id:
        return ""
    precision = [result.made_by.get("precision") for result in (first, second)]
    return f" ({precision[1] if precision[0] != precision[1] else second.id[:6]})"


def attack_of(result: Result) -> str:
    """The attack of a result as columns name it: ``downstream`` where it is the task's own, unless its plan named it
    otherwise."""
    attack = unwrapped(result.cell.attack or "")
    return DOWNSTREAM if attack == result.task["attack"] and result.task.get(DOWNSTREAM, True) else attack


def as_downstream(results: Sequence[Result]) -> list[Result]:
    """The results, the task's own attack under ``downstream`` in all of them."""
    return [replace(result, task={**result.task, DOWNSTREAM: True}) for result in results]


def _start(mine: str, starts: set[str]) -> str:
    """What distinguishes a number from the others of its column."""
    if not mine or len(starts) == 1:
        return ""
    return " (warm)" if len(starts - {""}) == 1 else f" (warm from {mine})"
