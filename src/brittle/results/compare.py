"""Which cells of two runs, or of one run's encoders, can be compared image by image, and the comparisons themselves."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import torch

from brittle.core import components
from brittle.core.budget import eps_text
from brittle.core.errors import BrittleError, UsageError, unknown
from brittle.core.records import MAY_DIFFER, Cell, Comparison, Result
from brittle.planning import identity
from brittle.planning.warm_start import smaller, titled, unwrapped
from brittle.reports.parts.seeds import over_seeds
from brittle.reports.parts.wording import attack_text
from brittle.results.paired_tests import Statistics, holm, paired
from brittle.results.store import Store, read_run


def compare(first: Path, second: Path | None = None, baseline: str = "") -> tuple[list[Comparison], list[str]]:
    """Every comparison that two runs allow, or the encoders of one, and a line for each cell left out.

    Cells are paired by all but the encoder and the number of images; pairs of several seeds are one comparison. Runs
    that hold the same encoders have each compared with itself; otherwise every encoder of the first is compared with
    every other one of the second.

    Args:
        baseline: the encoder that each other is compared with, and no other with another; empty for all with all.

    Raises:
        MissingError: a folder holds no results, or no per-image samples.
        UsageError: nothing can be compared, or no run holds the baseline.
    """
    notes: list[str] = []
    folders = [folder for folder in (first, second) if folder]
    sides = [_by_encoder(folder, notes) for folder in folders]
    if baseline and baseline not in {name for side in sides for name in side}:
        with suppress(BrittleError):  # it may be written otherwise, with settings at their defaults, say
            baseline = components.canonical("encoders", baseline)
    if baseline and baseline not in sides[0]:  # it is A wherever it lies
        folders, sides = folders[::-1], sides[::-1]
    if baseline and baseline not in sides[0]:
        raise unknown("encoder", baseline, {name for side in sides for name in side})
    pairs = _pairs([list(side) for side in sides], folders, baseline)
    comparisons: list[Comparison] = []
    for a, b in pairs:
        left, right = sides[0][a], sides[-1][b]
        notes += _unmatched((left, right), (a, b))
        names = (a, b) if a != b else (f"{folders[0]} {a}", f"{folders[-1]} {b}")
        for keys in _over_seeds(left, right):
            pairs_of_seeds = [(left[key], right[key]) for key in keys]
            try:
                comparisons.append(_compared(pairs_of_seeds, (folders[0], folders[-1]), names, notes))
            except UsageError as error:
                notes.append(f"not compared: {titled(left[keys[0]].cell)}: {error}")
    if not comparisons:
        more = f"; and {len(notes) - 1} more such lines" if len(notes) > 1 else ""
        raise UsageError(f"nothing to compare: {notes[0] if notes else 'no row has a partner'}{more}")
    corrected = holm([comparison.paired.p for comparison in comparisons])
    comparisons = [replace(comparison, p_holm=p) for comparison, p in zip(comparisons, corrected)]
    order = {
        key: place for place, key in enumerate(dict.fromkeys(row_key(comparison.a.cell) for comparison in comparisons))
    }
    return sorted(comparisons, key=lambda comparison: order[row_key(comparison.a.cell)]), notes


def _pairs(encoders: Sequence[Sequence[str]], folders: Sequence[Path], baseline: str) -> list[tuple[str, str]]:
    """The encoders that are compared, A and B."""
    if len(encoders) == 1 and len(encoders[0]) == 1:
        alone = f"{folders[0]} holds one encoder ({encoders[0][0]})"
        raise UsageError(f"{alone}; name a second run, or a run of several encoders")
    if baseline:
        return [(baseline, name) for name in encoders[-1] if name != baseline] or [(baseline, baseline)]
    if len(encoders) == 1:
        return list(combinations(encoders[0], 2))
    if set(encoders[0]) == set(encoders[1]):
        return [(name, name) for name in encoders[0]]
    return [(a, b) for a, b in product(*encoders) if a != b]


def _over_seeds(left: Mapping[str, Result], right: Mapping[str, Result]) -> list[list[str]]:
    """The keys that both have, those together that differ in nothing but the seed."""
    groups: dict[str, list[str]] = {}
    for key in [key for key in left if key in right]:
        groups.setdefault(row_key(replace(left[key].cell, seed=0)), []).append(key)
    return list(groups.values())


def row_key(cell: Cell) -> str:
    """What cells that can be compared have in common."""
    facts = {**asdict(cell), "dataset": identity.pathless(cell.dataset)}  # whether the data are the same its hash says
    return json.dumps({name: value for name, value in facts.items() if name not in MAY_DIFFER})


def _by_encoder(folder: Path, notes: list[str]) -> dict[str, dict[str, Result]]:
    """Results of a run by encoder and by what they are paired on; of several that differ in ``limit``, the one with the
    most images."""
    results: dict[str, dict[str, Result]] = {}
    for result in sorted(read_run(folder), key=lambda result: result.images):
        if result.failed is None:
            results.setdefault(result.cell.encoder, {})[row_key(result.cell)] = result
        else:
            notes.append(f"failed in {folder}: {titled(result.cell)}")
    if not results:
        raise UsageError(f"every cell of {folder} failed; run it again")
    return results


def _unmatched(sides: tuple[dict[str, Result], dict[str, Result]], names: tuple[str, str], most: int = 5) -> list[str]:
    """A line that counts the rows that only one side has, and names some with what the other does not have; none
    where all have partners."""
    described: list[str] = []
    counts: list[str] = []
    for (mine, name), (other, there) in permutations(zip(sides, names)):
        unmatched = [mine[key].cell for key in mine if key not in other]
        counts.append(f"{len(unmatched)} of {name}")
        described += [
            f"{_row_text(cell)} ({there}: {_difference(cell, [result.cell for result in other.values()])})"
            for cell in unmatched
        ]
    more = [f"and {len(described) - most} more"] if len(described) > most else []
    return (
        [f"rows without a partner: {' and '.join(counts)}: {'; '.join(described[:most] + more)}"] if described else []
    )


def _row_text(cell: Cell) -> str:
    return f"{cell.dataset} / {cell.task} / {attack_text(cell)}"


def _difference(cell: Cell, others: Sequence[Cell]) -> str:
    """Why none of the others is the partner of this cell: the first thing, from data set to protocol, in which all that
    are left differ."""
    words = {
        "attack": unwrapped(cell.attack) if cell.attack else "clean row",
        "eps": f"eps {eps_text(cell.eps, cell.norm)}",
        "seed": f"seed {cell.seed}",
    }
    for name in ("dataset", "task", "attack", "eps", "norm", "seed", "protocol"):
        mine, *theirs = (
            unwrapped(candidate.attack or "clean") if name == "attack" else getattr(candidate, name)
            for candidate in (cell, *others)
        )
        others = [candidate for candidate, value in zip(others, theirs) if value == mine]
        if not others:
            return f"no {words.get(name, mine)}"
    starts = [
        f"continues from {smaller(candidate)}" if smaller(candidate) else "begins afresh"
        for candidate in (others[0], cell)
    ]
    return f"{starts[0]}, where this {starts[1]}"


def _compared(
    pairs: Sequence[tuple[Result, Result]], folders: tuple[Path, Path], names: tuple[str, str], notes: list[str]
) -> Comparison:
    """The comparison of one pair of results, or of the means over pairs of several seeds."""
    task, headline = identity.task_of(pairs[0][0].cell.task), pairs[0][0].task["headline"]
    rows = [matched(a, b, folders, notes) for a, b in pairs]
    (a,), (b,) = (over_seeds(side) for side in zip(*pairs))
    return Comparison(a, b, names, paired(task, headline, *rows))


def matched(a: Result, b: Result, folders: tuple[Path, Path], notes: list[str]) -> tuple[Statistics, Statistics]:
    """The per-image statistics of two results, of the images that are in both.

    Raises:
        UsageError: the data set was changed in between, ids are not unique, or no image is in both.
    """
    data = [result.made_by.get("data_sha256") for result in (a, b)]
    if data[0] != data[1]:
        hashes = " and ".join(str(data_hash)[:12] for data_hash in data)
        raise UsageError(f"the data set was changed between the runs ({hashes}); measure one of them again")
    (ids_a, first), (ids_b, second) = (
        statistics_of(Store(folder).samples(result.id)) for folder, result in zip(folders, (a, b))
    )
    ids = [ids_a, ids_b]
    places = [{name: index for index, name in enumerate(side)} for side in ids]
    if any(len(place) != len(side) for place, side in zip(places, ids)):
        raise UsageError("an id names two images; give each its own")
    shared = [name for name in ids[0] if name in places[1]]
    if not shared:
        raise UsageError(f"no image is in both ({len(ids[0])} and {len(ids[1])}, such as {ids[0][0]} and {ids[1][0]})")
    if not len(shared) == len(ids[0]) == len(ids[1]):
        counts = f"{len(shared)} images that are in both, of {len(ids[0])} and {len(ids[1])}"
        notes.append(f"{titled(a.cell)}: compared on the {counts}")
    left, right = (
        {key: torch.from_numpy(value)[[place[name] for name in shared]] for key, value in samples.items()}
        for samples, place in ((first, places[0]), (second, places[1]))
    )
    return left, right


def statistics_of(samples: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """The ids of images and those of their samples that the task summarises, numpy arrays [N, ...] by name."""
    others = ("ids", "classes", "damage", "violation")
    return [str(name) for name in samples["ids"]], {key: each for key, each in samples.items() if key not in others}
