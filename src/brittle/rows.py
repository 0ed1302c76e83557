"""Results laid out as the paper's table: a row for each task, data set and encoder, a column for the clean number and each attack."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from brittle import spec
from brittle.plan import Result, bare, eps_text

GAP = "–"


class Row(NamedTuple):
    """One line: what it is of, and the results by column."""

    task: str
    dataset: str
    encoder: str
    metric: str
    results: dict[str, Result]


def layout(results: Sequence[Result]) -> tuple[list[str], list[Row]]:
    """Columns and rows. The task's own attack goes under ``downstream``; eps and norm are named where there is more than one."""
    cells = [result.cell for result in results]
    several_eps = len({cell.eps for cell in cells if cell.attack}) > 1
    several_norms = len({cell.norm for cell in cells if cell.attack}) > 1
    several = {name: len({getattr(cell, name) for cell in cells}) > 1 for name in ("seed", "limit", "protocol")}
    columns: dict[str, None] = {}
    rows: dict[tuple[object, ...], Row] = {}
    for result in sorted(results, key=lambda result: (result.cell.attack is not None, result.cell.eps or 0)):
        cell = result.cell
        column = "clean"
        if cell.attack:
            attack = bare(cell.attack)
            column = "downstream" if attack == result.task["attack"] else attack
            column += f" {eps_text(cell.eps)}" if several_eps else ""
            column += f" {cell.norm}" if several_norms else ""
        columns[column] = None
        variant = [f"{name}={getattr(cell, name)}" for name, many in several.items() if many]
        encoder = " ".join([cell.encoder, *variant])
        row = rows.setdefault((cell.task, cell.dataset, encoder), Row(cell.task, cell.dataset, encoder, result.task["headline"], {}))
        row.results[column] = result
    order = {key: None for result in results for key in [(result.cell.task, result.cell.dataset)]}
    ranked = sorted(rows.values(), key=lambda row: list(order).index((row.task, row.dataset)))
    ends = [name for name in columns if name.startswith("downstream")]
    return [name for name in columns if name not in ends] + ends, ranked


EMBEDDING = ("embed", "embed_worst")


def transfer_gaps(lines: Sequence[Row]) -> list[str]:
    """How much of the strongest attack's damage to the headline the strongest attack on the encoder alone reaches, a share for each line,
    at the largest budget that has both; a dash where there are not both. Nothing at all where no line has one."""
    found = [_gap(line) for line in lines]
    return [] if all(share is None for share in found) else [GAP if share is None else f"{share:.2f}" for share in found]


def _gap(line: Row) -> float | None:
    clean = line.results.get("clean")
    attacked = [result for result in line.results.values() if result.cell.attack and result.failed is None]
    if clean is None or clean.failed is not None:
        return None
    for budget in sorted({(result.cell.eps, result.cell.norm) for result in attacked}, reverse=True):
        damage: dict[bool, list[float]] = {True: [], False: []}
        for result in attacked:
            if (result.cell.eps, result.cell.norm) == budget:
                embedding = bare(result.cell.attack or "").partition("(")[0] in EMBEDDING
                damage[embedding].append(abs(result.metrics[line.metric] - clean.metrics[line.metric]))
        if damage[True] and damage[False]:
            strongest = max(damage[True] + damage[False])
            return max(damage[True]) / strongest if strongest else None
    return None


def text(result: Result | None) -> str:
    """``0.931 [0.914, 0.945]``; a dash where nothing was measured; marked where a check failed or none was made."""
    if result is None:
        return GAP
    if result.failed is not None:
        return "failed"
    name = result.task["headline"]
    interval = "" if name not in result.intervals else " [{:.3f}, {:.3f}]".format(*result.intervals[name])  # one picture has none
    failed = any(finding.verdict == "fail" for finding in result.findings)
    unchecked = result.cell.attack is not None and all(finding.verdict == "unchecked" for finding in result.findings)
    return f"{result.metrics[name]:.3f}{interval}" + (" !" if failed else " ?" if unchecked else "")


def failures(results: Sequence[Result]) -> list[str]:
    """A Markdown item for each cell that could not be measured, with its reason."""
    return [f"- failed: {result.cell}: {result.failed}" for result in results if result.failed is not None]


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
    parts += (
        ["each budget goes on from the smaller ones"]
        if any(bare(r.cell.attack or "noise") != (r.cell.attack or "noise") for r in attacked)
        else []
    )
    parts += ["attacked in bf16, scored in float32"] if any(r.made_by.get("precision") == "bf16" for r in attacked) else []
    parts += [f"downstream = {', '.join(own)}"] if own else []
    rules: dict[str, None] = {}
    for result in done:
        if "protocol" in result.made_by:
            rules[
                f"{result.cell.task} on {result.cell.dataset.partition('(')[0]} ({result.cell.protocol}): {result.made_by['protocol']}"
            ] = None
    parts += list(rules)
    left_out = {result.cell.dataset.partition("(")[0]: result.made_by.get("left_out", 0) for result in done}
    parts += [f"{count} pictures of {name} that cannot be read left out" for name, count in left_out.items() if count]
    marks = [text(result)[-1] for result in done]
    parts += ["! a check failed"] if "!" in marks else []
    parts += ["? unchecked"] if "?" in marks else []
    return "; ".join(parts)
