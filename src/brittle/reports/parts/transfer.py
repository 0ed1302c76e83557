"""The transfer ratio: the share of the damage of an attack on the whole pipeline that an attack on the encoder alone
does."""

from collections.abc import Sequence

from brittle.core.errors import BrittleError
from brittle.core.records import Result
from brittle.core.tree import tree
from brittle.planning.identity import task_of
from brittle.reports.parts.layout import GAP, Row


def transfer_ratios(lines: Sequence[Row]) -> list[str]:
    """The damage to the headline by the strongest attack on the encoder alone, as a share of that by the strongest
    attack on the whole pipeline: for each line, 1.00 where they do the same, at the largest budget that has both; a
    dash where one is missing or there is no damage. An empty list where no line has a share."""
    ratios = [_ratio(line) for line in lines]
    shown = [GAP if share is None else f"{share:.2f}" for share in ratios]
    return [] if all(share is None for share in ratios) else shown


def _ratio(line: Row) -> float | None:
    clean = line.results.get("clean")
    attacked = [result for result in line.results.values() if result.cell.attack and result.failed is None]
    if clean is None or clean.failed is not None or unlike(clean):
        return None
    sign = -1 if clean.task["higher_is_better"] else 1
    for budget in sorted({(result.cell.eps, result.cell.norm) for result in attacked}, reverse=True):
        damage: dict[str, list[float]] = {"head": [], "encoder": [], "nothing": []}
        for result in attacked:
            if (result.cell.eps, result.cell.norm) == budget:
                lost = sign * (result.metrics[line.metric] - clean.metrics[line.metric])
                damage.setdefault(sees(result), []).append(lost)
        if damage["head"] and damage["encoder"]:
            strongest = max(damage["head"])
            return max(0.0, *damage["encoder"]) / strongest if strongest > 0 else None
    return None


def sees(result: Result) -> str:
    """What of the model an attack followed: its ``head``, its ``encoder`` alone, or ``nothing``. Results of older
    versions do not say; they are looked up by their spec."""
    if result.sees or result.cell.attack is None:
        return result.sees
    try:
        return tree("attacks", result.cell.attack).sees
    except BrittleError:  # an attack that no longer exists
        return "head"


def unlike(result: Result) -> str:
    """Why the headlines of clean and of attacked images cannot be compared; empty where they can."""
    if "unlike" in result.task:
        return str(result.task["unlike"])
    try:
        return task_of(result.cell.task).unlike  # results of versions that did not say
    except BrittleError:  # a task that is not there any more
        return ""
