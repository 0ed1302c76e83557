"""Which cells of two runs, or of one run's encoders, can be compared picture by picture, and the table of what came out."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import torch

from brittle import plan
from brittle.errors import UsageError
from brittle.grid import bare
from brittle.paired import Paired, holm, paired
from brittle.plan import Cell, Result, eps_text
from brittle.reports.table import add, laid, printed
from brittle.rows import checks, legend, mark, smaller
from brittle.store import Store, read_run

APART = ("encoder", "limit")  # of a cell: may differ between what is compared; pictures are matched by their ids


@dataclass(frozen=True)
class Comparison:
    """Two results, what tells them apart, and how they compare; ``p_holm`` is corrected for all comparisons made together."""

    a: Result
    b: Result
    names: tuple[str, str]
    found: Paired
    p_holm: float = math.nan


def compare(first: Path, second: Path | None = None) -> tuple[list[Comparison], list[str]]:
    """Every comparison that two runs allow, or the encoders of one, and a line for whatever was left out.

    Cells are paired by all but the encoder and the number of pictures. Runs that hold the same encoders have each compared with itself;
    otherwise every encoder of the first is compared with every other one of the second.

    Raises:
        MissingError: a folder holds no results, or no per-image samples.
        UsageError: nothing can be compared.
    """
    notes: list[str] = []
    sides = [_by_encoder(folder, notes) for folder in (first, second) if folder]
    encoders = [list(side) for side in sides]
    if len(sides) == 1:
        pairs = list(combinations(encoders[0], 2))
        if not pairs:
            raise UsageError(f"{first} holds one encoder ({encoders[0][0]}); name a second run, or a run of several encoders")
    elif set(encoders[0]) == set(encoders[1]):
        pairs = [(name, name) for name in encoders[0]]
    else:
        pairs = [(a, b) for a, b in product(*encoders) if a != b]
    made: list[Comparison] = []
    for a, b in pairs:
        left, right = sides[0][a], sides[-1][b]
        notes += _alone((left, right), (a, b))
        names = (a, b) if a != b else (f"{first} {a}", f"{second} {b}")
        for key in [key for key in left if key in right]:
            try:
                made.append(_compared(left[key], right[key], (first, second or first), names, notes))
            except UsageError as error:
                notes.append(f"not compared: {left[key].cell}: {error}")
    if not made:
        raise UsageError(f"nothing to compare: {'; '.join(notes) or 'the runs share no task, data set and attack'}")
    corrected = holm([one.found.p for one in made])
    made = [replace(one, p_holm=p) for one, p in zip(made, corrected)]
    order = {key: place for place, key in enumerate(dict.fromkeys(_key(one.a.cell) for one in made))}
    return sorted(made, key=lambda one: order[_key(one.a.cell)]), notes


def _key(cell: Cell) -> str:
    return json.dumps({name: value for name, value in asdict(cell).items() if name not in APART})


def _by_encoder(folder: Path, notes: list[str]) -> dict[str, dict[str, Result]]:
    """Results of a run by encoder and by what they are paired on; of several that differ in ``limit``, the one with the most pictures."""
    found: dict[str, dict[str, Result]] = {}
    for result in sorted(read_run(folder), key=lambda result: result.images):
        if result.failed is None:
            found.setdefault(result.cell.encoder, {})[_key(result.cell)] = result
        else:
            notes.append(f"failed in {folder}: {result.cell}")
    if not found:
        raise UsageError(f"every cell of {folder} failed; run it again")
    return found


def _alone(sides: tuple[dict[str, Result], dict[str, Result]], names: tuple[str, str], most: int = 5) -> list[str]:
    """A line that counts the rows that only one side has, and names some with what the other lacks; none where all have partners."""
    said: list[str] = []
    counts: list[str] = []
    for (mine, name), (other, there) in permutations(zip(sides, names)):
        lonely = [mine[key].cell for key in mine if key not in other]
        counts.append(f"{len(lonely)} of {name}")
        said += [f"{_row(cell)} ({there}: {_lacks(cell, [result.cell for result in other.values()])})" for cell in lonely]
    more = [f"and {len(said) - most} more"] if len(said) > most else []
    return [f"rows without a partner: {' and '.join(counts)}: {'; '.join(said[:most] + more)}"] if said else []


def _row(cell: Cell) -> str:
    return f"{cell.dataset} / {cell.task} / {_attack(cell)}"


def _attack(cell: Cell) -> str:
    attack = f"{bare(cell.attack)} {eps_text(cell.eps)} {cell.norm}" if cell.attack else "clean"
    return attack + (f" seed={cell.seed}" if cell.seed else "") + (" (warm)" if smaller(cell) else "")


def _lacks(cell: Cell, others: Sequence[Cell]) -> str:
    """Why none of the others is the partner of this cell: the first thing, from data set to protocol, in which all that are left differ."""
    words = {"attack": bare(cell.attack) if cell.attack else "clean row", "eps": f"eps {eps_text(cell.eps)}", "seed": f"seed {cell.seed}"}
    for name in ("dataset", "task", "attack", "eps", "norm", "seed", "protocol"):
        mine, *theirs = (bare(one.attack or "clean") if name == "attack" else getattr(one, name) for one in (cell, *others))
        others = [one for one, value in zip(others, theirs) if value == mine]
        if not others:
            return f"no {words.get(name, mine)}"
    begins = [f"goes on from {smaller(one)}" if smaller(one) else "begins afresh" for one in (others[0], cell)]
    return f"{begins[0]}, where this {begins[1]}"


def _compared(a: Result, b: Result, folders: tuple[Path, Path], names: tuple[str, str], notes: list[str]) -> Comparison:
    data = [result.made_by.get("data_sha256") for result in (a, b)]
    if data[0] != data[1]:
        marks = " and ".join(str(mark)[:12] for mark in data)
        raise UsageError(f"the data set was changed between the runs ({marks}); measure one of them again")
    first, second = (Store(folder).samples(result.id) for folder, result in zip(folders, (a, b)))
    ids = [[str(name) for name in samples.pop("ids")] for samples in (first, second)]
    rows = [{name: row for row, name in enumerate(side)} for side in ids]
    if any(len(place) != len(side) for place, side in zip(rows, ids)):
        raise UsageError("an id names two pictures; give each its own")
    both = [name for name in ids[0] if name in rows[1]]
    if not both:
        raise UsageError(f"no picture is in both ({len(ids[0])} and {len(ids[1])}, such as {ids[0][0]} and {ids[1][0]})")
    if not len(both) == len(ids[0]) == len(ids[1]):
        notes.append(f"{a.cell}: compared on the {len(both)} pictures that are in both, of {len(ids[0])} and {len(ids[1])}")
    sides = [
        {
            key: torch.from_numpy(value)[[place[name] for name in both]]
            for key, value in samples.items()
            if key not in ("damage", "violation")
        }
        for samples, place in ((first, rows[0]), (second, rows[1]))
    ]
    return Comparison(a, b, names, paired(plan.task_of(a.cell.task), a.task["headline"], *sides))


def table(made: Sequence[Comparison]) -> str:
    """A line for each comparison, for a terminal."""
    sides = {one.names for one in made}
    better = {one.a.task["headline"]: "higher" if one.a.task["higher_is_better"] else "lower" for one in made}
    counts = " / ".join(str(count) for count in sorted({one.found.images for one in made}))
    caption = "A = {}, B = {}; ".format(*made[0].names) if len(sides) == 1 else ""
    caption += f"difference = A - B of {', '.join(f'{name} ({word} is better)' for name, word in better.items())}; 95 % intervals; "
    caption += f"{counts} pictures in both; McNemar x : y = only A right : only B right"
    caption = "; ".join([caption, *legend([result for one in made for result in (one.a, one.b)])])
    lines = [_line(one, named=len(sides) > 1) for one in made]
    shown = laid(list(lines[0]), caption, fixed=("difference", "p", "p (Holm)"))
    for line in lines:
        add(shown, list(line.values()))
    return printed(shown)


def _line(one: Comparison, named: bool) -> dict[str, str]:
    cell, found = one.a.cell, one.found
    counts = " {} : {}".format(*found.discordant) if found.discordant else ""
    names = [f"{name} " if named else "" for name in one.names]
    return {
        "task": cell.task,
        "data": cell.dataset,
        "attack": _attack(cell),
        "A": f"{names[0]}{found.a:.3f}{mark(one.a)}",
        "B": f"{names[1]}{found.b:.3f}{mark(one.b)}",
        "difference": f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]",
        "p": f"{found.p:.2g}",
        "p (Holm)": f"{one.p_holm:.2g}",
        "test": found.test + counts,
    }


def as_json(made: Sequence[Comparison]) -> str:
    """The comparisons as a JSON list; an interval without an end is null."""
    rows: list[dict[str, Any]] = []
    for one in made:
        cell, found = asdict(one.a.cell), asdict(one.found)
        row: dict[str, Any] = {name: value for name, value in cell.items() if name not in APART}
        row |= {"metric": one.a.task["headline"], "higher_is_better": one.a.task["higher_is_better"], **found}
        row |= {name: found[name] if math.isfinite(found[name]) else None for name in ("low", "high")}
        for side, name, result in zip("ab", one.names, (one.a, one.b)):
            row[side] = {"name": name, "encoder": result.cell.encoder, "id": result.id, "value": found[side], "checks": checks(result)}
        rows.append({**row, "difference": one.found.difference, "p_holm": one.p_holm})
    return json.dumps(rows, indent=1, allow_nan=False)
