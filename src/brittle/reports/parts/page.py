"""What a page says of results, as plain data for its template: the answer, the table, figures, findings, and how it was
measured."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from brittle.core.budget import eps_text
from brittle.core.records import Result
from brittle.core.text import shortened
from brittle.planning.warm_start import unwrapped
from brittle.reports.parts import answer, charts, grid, layout, matrices, published, shots, svg, wording
from brittle.reports.parts.distributions import Spreads
from brittle.reports.parts.kinds import Figure
from brittle.reports.parts.numbers import Numbers, meaning
from brittle.reports.parts.seeds import over_seeds

SHOWN = 40  # numbers listed under a finding
FIRST = 8  # encoders whose sentences are not folded away


class Found(NamedTuple):
    """What one check said of several numbers: its verdict and name, what it means, what it advises, and of each number
    its place, its name and why; ``more`` are not listed."""

    verdict: str
    name: str
    means: str
    advice: str
    numbers: Sequence[tuple[int, str, str]]
    more: int


def view(results: Sequence[Result], pictures: shots.Pictures, spread: Spreads) -> dict[str, Any]:
    """Everything that the template needs, by name."""
    columns, rows = layout.layout(results)
    merged, numbers = over_seeds(results), Numbers()
    main = answer.main_budget(merged)
    scores = answer.scores(rows, main)
    table, lacking = grid.grid(columns, rows, numbers), grid.gaps(rows)
    failed = [
        (numbers.add(result), _name(result), str(result.failed)) for result in merged if result.failed is not None
    ]
    return {
        "title": _title([row.encoder for row in rows]),
        "lead": answer.lead(scores, main),
        "notices": _notices(merged, lacking),
        "overview": _overview(merged),
        "answers": _answers(scores, main),
        "first": FIRST,
        "figures": [_drawn(figure) for figure in charts.figures(results, rows, scores, main, spread)],
        "gallery": shots.cards(rows, main, pictures, numbers),
        "names": grid.NAMES,
        "grid": table,
        "metrics": _metrics(merged),
        "budgets": list(dict.fromkeys(column.budget for column in table.columns if column.budget)),
        "matrices": [grid.square(matrix, numbers) for matrix in matrices.matrices(results)],
        "published": _published(results, numbers),
        "findings": _findings(merged, numbers),
        "failed": failed,
        "gaps": lacking,
        "facts": wording.facts(results) if results else [],
        "sources": _sources(merged),
        "cost": _cost(results),
        "numbers": numbers.data(),
    }


def _drawn(figure: Figure) -> dict[str, Any]:
    """A figure with its legend and its charts as SVG."""
    legend = [(svg.swatch(look), shortened(name, answer.LONGEST)) for name, look in figure.looks.items()]
    drawn = [(title, about, svg.drawn(chart, figure.looks)) for title, about, chart in figure.charts]
    return {**figure._asdict(), "legend": legend, "charts": drawn}


def _title(encoders: Sequence[str]) -> str:
    names = [shortened(name, answer.LONGEST) for name in dict.fromkeys(encoders)]
    if not names:
        return "How brittle?"
    named = " and ".join(names)
    several = named if len(names) < 3 and len(named) <= answer.LONGEST else f"{len(names)} {wording.called(encoders)}"
    return f"How brittle is {named}?" if len(names) == 1 else f"How brittle are {several}?"


def _name(result: Result) -> str:
    cell = result.cell
    parts = (cell.encoder, cell.dataset, cell.task, wording.attack_text(cell))
    return " / ".join(shortened(part, answer.LONGEST) for part in parts)


def _notices(results: Sequence[Result], lacking: Sequence[object]) -> list[str]:
    """What a reader must know before the first number."""
    failed = sum(result.failed is not None for result in results)
    doubted = sum(wording.mark(result) == " !" for result in results)
    said: list[str] = []
    if not results:
        return ["No cell of this run has been measured. The same command again goes on where it stopped."]
    if failed:
        said.append(f"{failed} of {len(results)} cells failed; why is below.")
    if lacking:
        rows = "row lacks" if len(lacking) == 1 else "rows lack"
        said.append(f"Not everything is measured: {len(lacking)} {rows} numbers that others have; which is below.")
    if doubted:
        said.append(f"A check failed on {doubted} number{'s' * (doubted > 1)}, marked !: not to be trusted.")
    return said


def _overview(results: Sequence[Result]) -> list[tuple[str, str]]:
    """The size of it all, as labels and values."""
    done = [result for result in results if result.failed is None]
    cells = [result.cell for result in results]
    encoders = {cell.encoder for cell in cells}
    attacks = dict.fromkeys(unwrapped(cell.attack) for cell in cells if cell.attack)
    budgets = dict.fromkeys(f"{cell.norm} {eps_text(cell.eps, cell.norm)}" for cell in cells if cell.attack)
    images = " / ".join(str(count) for count in sorted({result.images for result in done}))
    counts = [
        (wording.called(encoders), len(encoders)),
        ("tasks", len({cell.task for cell in cells})),
        ("data sets", len({cell.dataset for cell in cells})),
        ("attacks", len(attacks)),
        ("numbers", len(done)),
    ]
    made = [(name if count != 1 else name.removesuffix("s"), str(count)) for name, count in counts if count]
    made += [("test images", images)] if images else []
    shown = ", ".join(budgets) if len(budgets) < 4 else f"{len(budgets)}"
    return made + ([("budget" if len(budgets) == 1 else "budgets", shown)] if budgets else [])


def _answers(scores: Sequence[answer.Score], main: answer.Budget | None) -> list[tuple[str, list[tuple[str, str]]]]:
    """Of each encoder, a sentence for each task."""
    name = answer.task_name([score.row for score in scores])
    said: dict[str, list[tuple[str, str]]] = {}
    for score in scores:
        said.setdefault(score.row.encoder, []).append((name(score.row), answer.sentence(score, main)))
    return [(shortened(encoder, 2 * answer.LONGEST), sentences) for encoder, sentences in said.items()]


def _metrics(results: Sequence[Result]) -> list[str]:
    return list(
        dict.fromkeys(
            f"{result.task['headline']} of {result.task['name']}: "
            f"{'higher' if result.task['higher_is_better'] else 'lower'} is better."
            for result in results
        )
    )


def _published(results: Sequence[Result], numbers: Numbers) -> dict[str, Any] | None:
    """The rows of the paper of which something was measured here; None where there is none."""
    rows = [
        (row, [(pair, grid.shown(pair.ours, None, numbers)) for pair in row.pairs])
        for row in published.rows(results)
        if any(pair.ours for pair in row.pairs)
    ]
    return {"source": published.source(), "columns": published.COLUMNS, "rows": rows} if rows else None


def _findings(results: Sequence[Result], numbers: Numbers) -> list[Found]:
    """What checks found, failed ones first."""
    found: dict[tuple[str, str], list[tuple[int, str, str]]] = {}
    for result in results:
        for each in result.findings:
            if each.verdict != "ok":
                found.setdefault((each.verdict, each.name), []).append((numbers.add(result), _name(result), each.why))
    order = ("fail", "warn", "unchecked")
    return [
        Found(
            verdict,
            name,
            meaning(name)[0],
            meaning(name)[1] if verdict != "unchecked" else "",
            each[:SHOWN],
            len(each) - len(each[:SHOWN]),
        )
        for (verdict, name), each in sorted(found.items(), key=lambda pair: order.index(pair[0][0]))
    ]


def _sources(results: Sequence[Result]) -> list[tuple[str, str, str, str]]:
    """Encoders and data: what it is, its name, its licence, and what stands for its content."""
    made: dict[tuple[str, str, str, str], None] = {}
    for result in results:
        by, cell = result.made_by, result.cell
        weights = by.get("weights", {})
        if by.get("weights_sha256"):
            made["encoder", cell.encoder, str(weights.get("licence", "not stated")), str(by["weights_sha256"])] = None
        if by.get("data_sha256"):
            made["data", cell.dataset, str(by.get("data_licence", "not stated")), str(by["data_sha256"])] = None
    return sorted(made, key=lambda each: each[0] != "encoder")


def _cost(results: Sequence[Result]) -> list[tuple[str, str]]:
    """What measuring cost in all."""
    total = {name: sum(result.cost.get(name, 0) for result in results) for name in ("seconds", "check_seconds")}
    passes = {name: sum(result.cost.get(name, 0) for result in results) for name in ("forwards", "backwards")}
    peak = max((result.cost.get("peak_bytes", 0) for result in results), default=0)
    said = [("measuring", total["seconds"]), ("checks", total["check_seconds"])]
    made = [(name, _time(seconds)) for name, seconds in said if seconds]
    made += [
        (f"{name.removesuffix('s')} passes of an image", f"{count:,.0f}") for name, count in passes.items() if count
    ]
    return [*made, *([("peak memory", f"{peak / 2**30:.2f} GiB")] if peak else [])]


def _time(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds / 60:.1f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
