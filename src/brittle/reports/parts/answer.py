"""The answer: how much of each clean score the strongest attack leaves, as numbers and in plain sentences."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from brittle.core.budget import eps_text
from brittle.core.records import Cell, Result
from brittle.core.text import shortened
from brittle.planning.warm_start import unwrapped
from brittle.reports.parts import layout, wording
from brittle.reports.parts.seeds import over_seeds
from brittle.reports.parts.transfer import unlike

LONGEST = 44  # characters of a name in a sentence
MOST = 4  # tasks and data sets in the first sentence
Budget = tuple[str, float]  # norm and eps


class Score(NamedTuple):
    """A row of the paper's table: its clean number, and that under the strongest attack of its largest budget; None
    where it was not measured."""

    row: layout.Row
    clean: Result | None
    attacked: Result | None

    @property
    def kept(self) -> float | None:
        """The share of the clean score that is left, attacked / clean, or clean / attacked where lower is better; None
        where one is missing, or they cannot be compared."""
        if self.clean is None or self.attacked is None or unlike(self.clean):
            return None
        ends = value(self.attacked), value(self.clean)
        part, whole = ends if self.clean.task["higher_is_better"] else ends[::-1]
        return part / whole if part >= 0 and whole > 0 else None


def value(result: Result) -> float:
    """The headline of a result that did not fail."""
    return result.metrics[result.task["headline"]]


def trusted(result: Result) -> bool:
    """Whether it was measured, and no check failed."""
    return result.failed is None and all(finding.verdict != "fail" for finding in result.findings)


def strongest(results: Iterable[Result]) -> Result | None:
    """The result of the lowest score, or the highest where lower is better; one of which a check failed only where
    there is no other that looks at the model: what noise leaves says nothing for a model that an attack failed on. None
    where nothing was measured."""
    done = [result for result in results if result.failed is None]
    looking = [result for result in done if result.sees != "nothing"] or done
    sound = [result for result in looking if trusted(result)] or looking
    return min(sound, key=lambda each: value(each) if each.task["higher_is_better"] else -value(each), default=None)


def ranked(row: layout.Row, main: Budget | None) -> list[Result]:
    """The attacked numbers of a row within the largest budget of the main norm, the strongest first."""
    attacked = [r for r in row.results.values() if main and r.cell.norm == main[0] and r.failed is None]
    largest = max((result.cell.eps or 0 for result in attacked), default=0)
    rest = [result for result in attacked if result.cell.eps == largest]
    ordered: list[Result] = []
    while (best := strongest(rest)) is not None:
        ordered.append(best)
        rest.remove(best)
    return ordered


def groups(scores: Iterable[Score]) -> list[list[Score]]:
    """Scores by task and data."""
    made: dict[tuple[str, str], list[Score]] = {}
    for each in scores:
        made.setdefault((each.row.task, each.row.dataset), []).append(each)
    return list(made.values())


def axis(result: Result, of: str = "") -> str:
    """The metric, of what, and which way is better."""
    return f"{result.task['headline']}{of} ({'higher' if result.task['higher_is_better'] else 'lower'} is better)"


def main_budget(results: Sequence[Result]) -> Budget | None:
    """The largest eps of the norm with most attacked numbers; None where there is none."""
    budgets = [budget for result in results if result.failed is None and (budget := _budget(result.cell))]
    norms = [norm for norm, _ in budgets]
    return max(budgets, key=lambda each: (norms.count(each[0]), each), default=None)


def scores(rows: Sequence[layout.Row], main: Budget | None) -> list[Score]:
    """A score for each row, attacked within the largest eps that the row has of the norm of ``main``."""
    made: list[Score] = []
    for row in rows:
        clean = row.results.get("clean")
        attacked = [r for r in row.results.values() if main and r.cell.norm == main[0] and r.failed is None]
        largest = max((result.cell.eps or 0 for result in attacked), default=0)
        worst = strongest(result for result in attacked if result.cell.eps == largest)
        made.append(Score(row, clean if clean and clean.failed is None else None, worst))
    return made


def _budget(cell: Cell) -> Budget | None:
    return (cell.norm, cell.eps) if cell.attack and cell.norm and cell.eps is not None else None


# --- sentences --------------------------------------------------------------------------------------------------------


def lead(every: Sequence[Score], main: Budget | None) -> str:
    """One sentence on all encoders: what part of each task's clean score the strongest attacks leave."""
    if not every:
        return "There are no results yet: nothing has been measured."
    if main is None:
        measured = any(score.clean for score in every)
        return "Nothing has been attacked yet: these are clean scores only." if measured else "Every cell failed."
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in every:
        groups.setdefault((score.row.task, score.row.dataset), []).append(score)
    name = task_name([score.row for score in every])
    said = [words for group in groups.values() if (words := _range(group, main, name(group[0].row)))]
    if not said:
        return "No clean score other than 0 stands beside an attacked one, so there is nothing to compare."
    more = [f"{len(said) - MOST} more are below"] if len(said) > MOST else []
    return f"Under the strongest attack tried within {budget_text(main)}, {'; '.join([*said[:MOST], *more])}."


def sentence_of(results: Sequence[Result]) -> str:
    """The same of results as they are stored."""
    main = main_budget(over_seeds(results))
    return lead(scores(layout.layout(results)[1], main), main)


def task_name(rows: Sequence[layout.Row]) -> Callable[[layout.Row], str]:
    """How to call the task of a row: with its data where there are several of them, by their settings only where those
    tell them apart."""
    names = {row.dataset: row.dataset.partition("(")[0] for row in rows}
    if len(set(names.values())) < len(names):
        names = {name: name for name in names}
    return lambda row: f"{row.task} on {shortened(names[row.dataset], LONGEST)}" if len(names) > 1 else row.task


def budget_text(budget: Budget) -> str:
    """``linf 8/255``."""
    norm, eps = budget
    return f"{norm} {eps_text(eps, norm)}"


def _range(group: Sequence[Score], main: Budget, task: str) -> str:
    """What a task keeps within the main budget, from the encoder that keeps least to the one that keeps most; empty
    where that is unknown."""
    sound = [each for each in group if each.attacked and trusted(each.attacked) and _budget(each.attacked.cell) == main]
    known = sorted(((kept, score) for score in sound if (kept := score.kept) is not None), key=lambda pair: pair[0])
    if not known:
        return ""
    row = known[0][1].row
    higher = row.results["clean"].task["higher_is_better"]
    parts = [_share(kept) if higher else _growth(kept) for kept, _ in (known[0], known[-1])]
    names = [f" ({shortened(score.row.encoder, LONGEST)})" for _, score in (known[0], known[-1])]
    if parts[0] == parts[1]:
        called = wording.called(score.row.encoder for _, score in known)
        span = parts[0] + (f" (all {len(known)} {called})" if len(known) > 1 else "")
    else:
        span = " to ".join(f"{part}{name}" for part, name in zip(parts, names))
    return f"{task} keeps {span} of its {row.metric}" if higher else f"{task} has {span} the clean {row.metric}"


def _share(kept: float) -> str:
    return "under 1\N{NO-BREAK SPACE}%" if 0 < kept < 0.01 else f"{100 * kept:.0f}\N{NO-BREAK SPACE}%"


def _growth(kept: float) -> str:
    return f"{1 / kept:.1f} times" if kept else "infinitely many times"


def sentence(score: Score, main: Budget | None) -> str:
    """What became of one clean score: ``accuracy falls from 0.906 [0.758, 0.968] to 0.000 [0.000, 0.107] under pgd``;
    the budget is named where it is not the main one."""
    clean, attacked, metric = score.clean, score.attacked, score.row.metric
    if clean is None and attacked is None:
        failed = all(result.failed is not None for result in score.row.results.values())
        return f"{metric} {'could not be measured: every cell failed' if failed else 'has numbers of other norms only'}"
    if clean is None or attacked is None:
        have, lacking = ("clean", "attacked") if clean else ("attacked", "clean")
        return f"{metric} is {_number(clean or attacked)} {have}; there is no {lacking} number yet"
    under = f"under {attack_name(attacked)}"
    budget = _budget(attacked.cell)
    under += f" within {budget_text(budget)}" if budget and budget != main else ""
    under += "" if trusted(attacked) else " (a check failed: not to be trusted)"
    if unlike(clean):
        return f"{metric} is {_number(clean)} clean and {_number(attacked)} {under}, not to be compared"
    before, after = value(clean), value(attacked)
    if before == after:
        return f"{metric} stays at {_number(clean)} {under}"
    move = "falls" if after < before else "rises"
    helped = "" if (after < before) == clean.task["higher_is_better"] else ": no attack made it worse"
    return f"{metric} {move} from {_number(clean)} to {_number(attacked)} {under}{helped}"


def _number(result: Result | None) -> str:
    """A number with its interval; what marks it is said in words."""
    return wording.text(result).removesuffix(wording.mark(result) if result else "")


def attack_name(result: Result) -> str:
    """The attack as a sentence names it; for stored images, the one that made them and what for."""
    match result.made_by.get("attack"):
        case {"attack": attack, "encoder": encoder, "task": task}:
            made = f"{unwrapped(str(attack))} made for {encoder} in {task}"
            return shortened(made, 2 * LONGEST)
        case _:
            return shortened(unwrapped(result.cell.attack or ""), LONGEST)
