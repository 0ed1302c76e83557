"""A leaderboard: the runs of several people as one table, a row for each encoder; what was measured otherwise has a
table of its own."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any, NamedTuple

from brittle.core.errors import UsageError
from brittle.core.records import Result
from brittle.core.spec import Spec, parse
from brittle.core.text import shortened
from brittle.planning.warm_start import smaller, unwrapped
from brittle.reports.parts import answer, grid, layout, wording
from brittle.reports.parts.numbers import Numbers
from brittle.reports.parts.seeds import over_seeds

ASKED = 0.5  # of the encoders must have a number for it to be one that a complete row has


class Run(NamedTuple):
    """A run folder: what it is called, the address of its page, and its results."""

    name: str
    page: str
    results: Sequence[Result]


class Column(NamedTuple):
    """A number of each encoder: its task and data, the attack and its budget as columns of the paper's table name them,
    what it means, and whether a complete row has it."""

    task: str
    dataset: str
    name: str
    budget: str
    about: str
    asked: bool


class Line(NamedTuple):
    """An encoder: its licence, parameters and weights, its runs, its numbers by column (None for a gap), how many it
    lacks, the mean of its places, and what checks found."""

    encoder: str
    licence: str
    parameters: int | None
    weights: str
    runs: Sequence[Run]
    numbers: Sequence[grid.Shown | None]
    lacks: int
    place: float | None
    found: str


class Board(NamedTuple):
    """Encoders that were measured alike: what is the same, a hash of that, the sentence on all complete rows, the
    table, and what its numbers are."""

    facts: Mapping[str, str]
    hash: str
    lead: str
    columns: Sequence[Column]
    lines: Sequence[Line]
    numbers: Numbers
    said: Sequence[str]


def boards(runs: Sequence[Run]) -> list[Board]:
    """A board for each protocol, number of images and version, the one of most encoders first."""
    groups: dict[tuple[str, str, str], dict[str, Result]] = {}
    for run in runs:
        for result in run.results:
            version = str(result.made_by.get("versions", {}).get("brittle", "not stated"))
            images = "all" if result.cell.limit is None else str(result.cell.limit)
            groups.setdefault((result.cell.protocol, images, version), {}).setdefault(result.id, result)
    made = [
        _board(dict(zip(("protocol", "test images", "version"), key)), list(results.values()), runs)
        for key, results in groups.items()
    ]
    return sorted(made, key=lambda board: -sum(not line.lacks for line in board.lines))


def _board(facts: dict[str, str], results: Sequence[Result], runs: Sequence[Run]) -> Board:
    results = layout.as_downstream(_named(results))
    columns, rows = layout.layout(results)
    numbers, main = Numbers(), answer.main_budget(over_seeds(results))
    table = grid.grid(columns, rows, numbers)
    by_encoder: dict[str, dict[tuple[str, str, str], grid.Shown]] = {}
    abouts: dict[tuple[str, str, str], grid.Column] = {}
    for line in table.lines:
        mine = by_encoder.setdefault(line.encoder, {})
        for column, shown in zip(table.columns, line.numbers):
            key = (line.task, line.dataset, column.name)
            mine.update({key: shown} if shown else {})
            abouts.update({key: column} if shown else {})
    order = dict.fromkeys((line.task, line.dataset) for line in table.lines)
    names = [column.name for column in table.columns]
    keys = sorted(abouts, key=lambda key: (list(order).index(key[:2]), names.index(key[2])))
    have = {key: sum(key in mine and mine[key].value is not None for mine in by_encoder.values()) for key in keys}
    asked = {key for key in keys if have[key] >= ASKED * len(by_encoder)}
    whole = {
        name for name, mine in by_encoder.items() if all(key in mine and mine[key].value is not None for key in asked)
    }
    scores = answer.scores(rows, main)
    places = _places([score for score in scores if score.row.encoder in whole])
    lines = [
        _line(name, [mine.get(key) for key in keys], [row for row in rows if row.encoder == name], runs)._replace(
            lacks=sum(key not in mine or mine[key].value is None for key in asked), place=places.get(name)
        )
        for name, mine in by_encoder.items()
    ]
    lines.sort(key=lambda line: (line.lacks, line.place is None, line.place, line.encoder))
    shown = [Column(*key, abouts[key].budget, abouts[key].about, key in asked) for key in keys]
    lead = answer.lead([score for score in scores if score.row.encoder in whole] or scores, main)
    return Board(facts, _hash(facts, results), lead, shown, lines, numbers, wording.facts(results))


def _named(results: Sequence[Result]) -> list[Result]:
    """The results under names that do not depend on whose machine they are from: files without their folder; and what
    has several weights or contents under one name with those in the name."""
    first: dict[object, str] = {}  # of data of one content the name that the first run has for them
    bare: list[Result] = []
    for each in results:
        cell, data = each.cell, each.made_by.get("data_sha256")
        dataset = first.setdefault(data or cell.dataset, _bare(cell.dataset))
        bare.append(replace(each, cell=replace(cell, encoder=_bare(cell.encoder), dataset=dataset)))
    for field, origin in (("encoder", "weights_sha256"), ("dataset", "data_sha256")):
        known: dict[str, set[str]] = {}
        for each in bare:
            sha = each.made_by.get(origin)
            known.setdefault(getattr(each.cell, field), set()).update([sha] if sha else [])
        bare = [
            replace(each, cell=replace(each.cell, **{field: f"{name} {origin[:-7]}={str(each.made_by[origin])[:6]}"}))
            if len(known[name := getattr(each.cell, field)]) > 1 and each.made_by.get(origin)
            else each
            for each in bare
        ]
    return bare


def _bare(text: str) -> str:
    """A spec without the folder of the file that it names; text that is no spec as it is."""
    try:
        spec = parse(text)
    except UsageError:
        return text
    path = PurePath(spec.argument)
    local = path.is_absolute() or len(path.parts) > 2  # a hub's names have two parts at most
    return str(Spec(spec.name, path.name, spec.settings)) if local else text


def _line(name: str, numbers: Sequence[grid.Shown | None], rows: Sequence[layout.Row], runs: Sequence[Run]) -> Line:
    """An encoder's row, without what depends on the others."""
    mine = [result for row in rows for result in row.results.values()]
    ids = {each for result in mine for each in result.made_by.get("ids", [result.id])}
    weights: Mapping[str, Any] = next((each.made_by["weights"] for each in mine if each.made_by.get("weights")), {})
    sha = next((str(each.made_by["weights_sha256"]) for each in mine if each.made_by.get("weights_sha256")), "")
    verdicts = [finding.verdict for each in mine for finding in each.findings]
    words = {"fail": "check failed", "warn": "warning", "unchecked": "unchecked"}
    found = [f"{verdicts.count(verdict)} {text}" for verdict, text in words.items() if verdict in verdicts]
    found += [f"{count} could not be measured"] if (count := sum(each.failed is not None for each in mine)) else []
    return Line(
        name,
        str(weights.get("licence") or "not stated"),
        weights.get("parameters"),
        sha,
        [run for run in runs if any(result.id in ids for result in run.results)],
        numbers,
        0,
        None,
        ", ".join(found) or "nothing found",
    )


def _places(scores: Sequence[answer.Score]) -> dict[str, float]:
    """Of each encoder the mean, over tasks and data, of its place by the score under the strongest attack; only where
    all have one."""
    groups: dict[tuple[str, str], list[answer.Score]] = {}
    for score in scores:
        groups.setdefault((score.row.task, score.row.dataset), []).append(score)
    places: dict[str, list[int]] = {}
    for group in groups.values():
        known = [(answer.value(each.attacked), each) for each in group if each.attacked]
        if len(known) == len(group):
            higher = group[0].attacked is not None and group[0].attacked.task["higher_is_better"]
            for mine, each in known:
                ahead = sum(other > mine if higher else other < mine for other, _ in known)
                places.setdefault(each.row.encoder, []).append(1 + ahead)
    return {name: sum(each) / len(each) for name, each in places.items()}


def _hash(facts: Mapping[str, str], results: Sequence[Result]) -> str:
    """Of what the numbers of a board share: protocol, images, version, and for each data set and task the content of
    the data, how images are seen, and each attack with all settings within each budget."""
    seen: set[str] = set()
    for result in results:
        cell, made = result.cell, result.made_by
        attack = made.get("settings", {}).get("attacks") or (unwrapped(cell.attack) if cell.attack else None)
        about = (cell.task, cell.dataset, made.get("data_sha256"), made.get("protocol"), attack, cell.eps, cell.norm)
        seen.add(json.dumps([*about, smaller(cell)], default=str))
    return hashlib.sha256(json.dumps([facts, sorted(seen)], sort_keys=True).encode()).hexdigest()


def title(board: Board) -> str:
    """What a page of a board is called."""
    count = len(board.lines)
    return (
        f"How brittle are {count} {wording.called(line.encoder for line in board.lines)}?"
        if count != 1
        else f"How brittle is {shortened(board.lines[0].encoder, 44)}?"
    )
