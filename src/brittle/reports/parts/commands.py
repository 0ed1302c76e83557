"""The commands that measure results again."""

import shlex
from collections.abc import Mapping, Sequence

from brittle.core.budget import eps_text
from brittle.core.records import Cell, Result
from brittle.core.text import plain
from brittle.planning.plan import Plan
from brittle.planning.warm_start import unwrapped
from brittle.planning.words import CLEAN, DOWNSTREAM

Words = tuple[str, ...]
Shared = tuple[Words, str, Words, Words]
"""What cells of one command share: the options of encoder, data, images and protocol, the norm, attacks and budgets."""


def commands(results: Sequence[Result]) -> list[str]:
    """As few as measure these results and no others, where each attack was measured within each budget."""
    tasks: dict[tuple[Shared, int], list[str]] = {}
    for (cell, norm), attacked in _by_task(results).items():
        budgets = dict.fromkeys(eps for each in attacked.values() for eps in each)
        shared = (*_of(cell, norm), tuple(sorted(attacked)), tuple(budgets))
        tasks.setdefault((shared, cell.seed), []).append(cell.task)
    seeds: dict[tuple[Shared, Words], list[int]] = {}
    for (shared, seed), names in tasks.items():
        seeds.setdefault((shared, tuple(names)), []).append(seed)
    return [_command(shared, names, each) for (shared, names), each in seeds.items()]


def _by_task(results: Sequence[Result]) -> dict[tuple[Cell, str], dict[str, list[str]]]:
    """Of each clean cell and norm the attacks, each with its budgets; of what was not attacked the clean row alone."""
    made: dict[tuple[Cell, str], dict[str, list[str]]] = {}
    for result in sorted(results, key=lambda each: each.cell.attack is None):
        cell = result.cell
        clean = Cell(cell.encoder, cell.dataset, cell.task, None, None, None, cell.seed, cell.limit, cell.protocol)
        if cell.attack and cell.norm:
            bare = unwrapped(cell.attack)
            name = DOWNSTREAM if bare == result.task["attack"] else bare
            made.setdefault((clean, cell.norm), {}).setdefault(name, []).append(eps_text(cell.eps, cell.norm))
        elif not any(known == clean for known, _ in made):
            made[clean, ""] = {CLEAN: []}
    return made


def _of(cell: Cell, norm: str) -> tuple[Words, str]:
    words = ("-e", cell.encoder, "-d", cell.dataset)
    words += ("--limit", str(cell.limit)) if cell.limit is not None else ()
    words += ("--protocol", cell.protocol) if cell.protocol != Plan.model_fields["protocol"].default else ()
    return words, norm


def _command(shared: Shared, tasks: Sequence[str], seeds: Sequence[int]) -> str:
    words, norm, attacks, budgets = shared
    several: Mapping[str, Sequence[object]] = {
        "-t": tasks,
        "-a": attacks,
        "--eps": [",".join(budgets)] if budgets else [],
        "--norm": [norm] if norm else [],
        "--seed": seeds if list(seeds) != [0] else [],
    }
    options = [*words, *(str(part) for name, values in several.items() for value in values for part in (name, value))]
    return " ".join(["brittle run", *(shlex.quote(plain(" ".join(word.split()))) for word in options)])
