"""Results laid out as the paper's table: a row for each task, data set and encoder, a column for the clean number and each attack."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from brittle import spec
from brittle.grid import bare
from brittle.plan import Cell, Result, eps_text

GAP = "–"


class Row(NamedTuple):
    """One line: what it is of, and the results by column."""

    task: str
    dataset: str
    encoder: str
    metric: str
    results: dict[str, Result]


def layout(results: Sequence[Result]) -> tuple[list[str], list[Row]]:
    """Columns and rows. The task's own attack goes under ``downstream``; eps and norm are named where there is more than one, and a warm
    start where a column would hold numbers with and without it."""
    several = {name: len({getattr(result.cell, name) for result in results}) > 1 for name in ("seed", "limit", "protocol")}
    columns: dict[str, None] = {}
    rows: dict[tuple[object, ...], Row] = {}
    placed = sorted(zip(results, _columns(results)), key=lambda pair: (pair[0].cell.attack is not None, pair[0].cell.eps or 0))
    for result, column in placed:
        cell = result.cell
        variant = [f"{name}={getattr(cell, name)}" for name, many in several.items() if many]
        encoder = " ".join([cell.encoder, *variant])
        row = rows.setdefault((cell.task, cell.dataset, encoder), Row(cell.task, cell.dataset, encoder, result.task["headline"], {}))
        place = f"{column}{_unlike(row.results[column], result)}" if column in row.results else column
        columns[place] = None
        row.results[place] = result
    order = {key: None for result in results for key in [(result.cell.task, result.cell.dataset)]}
    ranked = sorted(rows.values(), key=lambda row: list(order).index((row.task, row.dataset)))
    ends = [name for name in columns if name.startswith("downstream")]
    return [name for name in columns if name not in ends] + ends, ranked


def _columns(results: Sequence[Result]) -> list[str]:
    """The column of each result."""
    cells = [result.cell for result in results]
    several_eps = len({cell.eps for cell in cells if cell.attack}) > 1
    several_norms = len({cell.norm for cell in cells if cell.attack}) > 1
    names = [
        f"{_attack(result)}{f' {eps_text(cell.eps)}' if several_eps else ''}{f' {cell.norm}' if several_norms else ''}"
        if cell.attack
        else "clean"
        for result, cell in zip(results, cells)
    ]
    starts: dict[str, set[str]] = {}
    for name, cell in zip(names, cells):
        starts.setdefault(name, set()).add(smaller(cell))
    return [f"{name}{_start(smaller(cell), starts[name])}" for name, cell in zip(names, cells)]


def _unlike(first: Result, second: Result) -> str:
    """What tells a second number of the same cell from the first; nothing where it is the same one."""
    if first.id == second.id:
        return ""
    precision = [result.made_by.get("precision") for result in (first, second)]
    return f" ({precision[1] if precision[0] != precision[1] else second.id[:6]})"


def _attack(result: Result) -> str:
    attack = bare(result.cell.attack or "")
    return "downstream" if attack == result.task["attack"] else attack


def smaller(cell: Cell) -> str:
    """The smaller budgets that an attacked number goes on from, such as ``2/255, 4/255``; nothing where it begins afresh."""
    parsed = spec.parse(cell.attack) if cell.attack else None
    sizes = parsed.settings.get("eps", []) if parsed and parsed.name == "warm" else []
    return ", ".join(eps_text(float(str(size))) for size in (sizes if isinstance(sizes, list) else [sizes]))


def _start(mine: str, all_of_it: set[str]) -> str:
    """What tells a number from the others of its column."""
    if not mine or len(all_of_it) == 1:
        return ""
    return " (warm)" if len(all_of_it - {""}) == 1 else f" (warm from {mine})"


# --- transfer gap ------------------------------------------------------------------------------------------------------------

EMBEDDING = ("embed", "embed_worst", "embedding")  # attacks, and an objective, on the encoder alone
BLIND = ("noise", "stored")  # attacks that follow nothing of the model they are put before
UNLIKE = {  # headlines whose clean number is another quantity than the attacked one
    "alignment": "alignment is of two views of a picture where clean, of a picture and its attacked self where attacked: not to be "
    "compared with each other; these rows have no checks"
}


def transfer_gaps(lines: Sequence[Row]) -> list[str]:
    """How much of the damage to the headline that the strongest attack on the whole pipeline does, the strongest one on the encoder alone
    does: a share for each line, at the largest budget that has both; a dash where there are not both, or no damage. Nothing at all where
    no line has one."""
    found = [_gap(line) for line in lines]
    return [] if all(share is None for share in found) else [GAP if share is None else f"{share:.2f}" for share in found]


def _gap(line: Row) -> float | None:
    clean = line.results.get("clean")
    attacked = [result for result in line.results.values() if result.cell.attack and result.failed is None]
    if clean is None or clean.failed is not None or line.metric in UNLIKE:
        return None
    sign = -1 if clean.task["higher_is_better"] else 1
    for budget in sorted({(result.cell.eps, result.cell.norm) for result in attacked}, reverse=True):
        damage: dict[str, list[float]] = {"head": [], "encoder": [], "nothing": []}
        for result in attacked:
            if (result.cell.eps, result.cell.norm) == budget:
                lost = sign * (result.metrics[line.metric] - clean.metrics[line.metric])
                damage[_sees(result.cell.attack or "")].append(lost)
        if damage["head"] and damage["encoder"]:
            strongest = max(damage["head"])
            return max(0.0, *damage["encoder"]) / strongest if strongest > 0 else None
    return None


def _sees(text: str) -> str:
    """What of a model an attack or objective follows: its ``head``, its ``encoder`` alone, or ``nothing``; of several, the most."""
    parsed = spec.parse(text)
    if parsed.name in EMBEDDING or parsed.name in BLIND:
        return "encoder" if parsed.name in EMBEDDING else "nothing"
    inner = {_sees(each) for key, value in parsed.settings.items() for each in spec.nested(key, value)}
    return next((seen for seen in ("head", "encoder", "nothing") if seen in inner), "head")


# --- text --------------------------------------------------------------------------------------------------------------------


def mark(result: Result) -> str:
    """`` !`` where a check failed, `` ?`` where an attacked number has none, else nothing."""
    if any(finding.verdict == "fail" for finding in result.findings):
        return " !"
    unchecked = result.cell.attack is not None and all(finding.verdict == "unchecked" for finding in result.findings)
    return " ?" if unchecked and result.failed is None else ""


def legend(results: Sequence[Result]) -> list[str]:
    """What the marks of these results mean."""
    marks = {mark(result) for result in results}
    return [words for words in ("! a check failed", "? unchecked") if f" {words[0]}" in marks]


def checks(result: Result) -> str:
    """What a spreadsheet is told of the checks: ``fail: budget; warn: rounding``, ``ok`` or ``unchecked``; nothing where none is due."""
    found = {verdict: [finding.name for finding in result.findings if finding.verdict == verdict] for verdict in ("fail", "warn")}
    said = "; ".join(f"{verdict}: {', '.join(names)}" for verdict, names in found.items() if names)
    return said or ("" if result.failed is not None or not result.cell.attack else "unchecked" if mark(result) else "ok")


def text(result: Result | None) -> str:
    """``0.931 [0.914, 0.945]``; a dash where nothing was measured; marked where a check failed or none was made."""
    if result is None:
        return GAP
    if result.failed is not None:
        return "failed"
    name = result.task["headline"]
    interval = "" if name not in result.intervals else " [{:.3f}, {:.3f}]".format(*result.intervals[name])  # one picture has none
    return f"{result.metrics[name]:.3f}{interval}{mark(result)}"


def failures(results: Sequence[Result]) -> list[str]:
    """A Markdown item for each cell that could not be measured, with its reason."""
    return [" ".join(f"- failed: {result.cell}: {result.failed}".split()) for result in results if result.failed is not None]


def troubles(results: Sequence[Result], most: int = 8) -> list[str]:
    """In short, what checks found: those that failed, then warnings, at most ``most``, and how many more there are."""
    found = [(result.cell, finding) for result in results for finding in result.findings if finding.verdict in ("fail", "warn")]
    lines: list[str] = []
    for cell, finding in sorted(found, key=lambda pair: pair[1].verdict):
        of = f"{replace(cell, attack=bare(cell.attack)) if cell.attack else cell}{' (warm)' if smaller(cell) else ''}"
        lines.append(" ".join(f"- {finding.verdict}: {finding.name}: {of}: {finding.why}".split()))
    more = [f"… and {len(lines) - most} more: brittle report RUN --format md"] if len(lines) > most else []
    return lines[:most] + more


def remarks(results: Sequence[Result]) -> list[str]:
    """A Markdown item for each finding that is not ``ok``: what was found, and what its check says to do about it; and for each attack that
    aims at a class, how much arrived there."""
    lines: list[str] = []
    for result in results:
        if "reached" in result.metrics:
            within = "{:.3f} [{:.3f}, {:.3f}]".format(result.metrics["reached"], *result.intervals.get("reached", (math.nan, math.nan)))
            lines.append(f"- reached: {result.cell}: {within} of what it aimed at is predicted as the class it aimed for")
        for finding in result.findings:
            known = finding.verdict in ("warn", "fail") and finding.name in spec.names("checks")
            advice = spec.summary("checks", finding.name).partition(". ")[2] if known else ""
            line = f"- {finding.verdict}: {finding.name}: {result.cell}: {finding.why}{'. ' if advice else ''}{advice}"
            lines += [line] if finding.verdict != "ok" else []
    return [" ".join(line.split()) for line in lines]


def caption(results: Sequence[Result]) -> str:
    """What the numbers are: pictures, budget, interval, marks."""
    done = [result for result in results if result.failed is None]
    images = sorted({result.images for result in done})
    attacked = [result for result in done if result.cell.attack]
    budgets = sorted({(result.cell.norm or "", result.cell.eps or 0.0) for result in attacked})
    own = sorted({str(result.task["attack"]) for result in attacked if result.cell.attack == result.task["attack"]})
    parts = [f"{' / '.join(str(count) for count in images) or 'no'} test pictures", "95 % intervals"]
    parts += [", ".join(f"{norm} {eps_text(eps)}" for norm, eps in budgets)] if budgets else []
    parts += _going_on(results)
    parts += ["attacked in bf16, scored in float32"] if any(r.made_by.get("precision") == "bf16" for r in attacked) else []
    parts += [f"downstream = {', '.join(own)}"] if own else []
    parts += list(dict.fromkeys(UNLIKE[result.task["headline"]] for result in done if result.task["headline"] in UNLIKE))
    rules: dict[str, None] = {}
    for result in done:
        if "protocol" in result.made_by:
            rules[
                f"{result.cell.task} on {result.cell.dataset.partition('(')[0]} ({result.cell.protocol}): {result.made_by['protocol']}"
            ] = None
    parts += list(rules)
    left_out = {result.cell.dataset.partition("(")[0]: result.made_by.get("left_out", 0) for result in done}
    parts += [f"{count} pictures of {name} that cannot be read left out" for name, count in left_out.items() if count]
    return "; ".join([*parts, *legend(done)])


def _going_on(results: Sequence[Result]) -> list[str]:
    """Whether budgets go on from smaller ones, and of which attacks or columns if not of all."""
    done = [(result, column) for result, column in zip(results, _columns(results)) if result.cell.attack and result.failed is None]
    smallest: dict[str | None, float] = {}
    for result, _ in done:
        smallest[result.cell.norm] = min(result.cell.eps or 0, smallest.get(result.cell.norm, math.inf))
    warm: dict[str, dict[str, bool]] = {}
    for result, column in done:
        if smaller(result.cell) or (result.cell.eps or 0) > smallest[result.cell.norm]:
            warm.setdefault(_attack(result), {})[column] = bool(smaller(result.cell))
    whole = [name for name, columns in warm.items() if all(columns.values())]
    if not any(yes for columns in warm.values() for yes in columns.values()):
        return []
    named = [each for name, columns in warm.items() for each in ([name] if name in whole else [key for key, yes in columns.items() if yes])]
    return [f"{'' if len(whole) == len(warm) else ', '.join(named) + ': '}each budget goes on from the smaller ones"]
