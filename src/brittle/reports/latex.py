"""The paper's table for LaTeX (booktabs), ready to be pasted, with what is best in bold."""

from collections.abc import Callable, Collection, Sequence
from itertools import groupby

from brittle.core.records import Result
from brittle.core.traits import ReportTraits
from brittle.reports.parts import layout, tex, transfer, wording

TRAITS = ReportTraits(ending=".tex", beside=("leaders",))
WIDEST = 3  # columns of attacked numbers in one table, so that it fits the text width of article
BESIDE = 15  # characters of an encoder beside its numbers; a longer name has a line of its own
BOLD = (
    "Bold: the best of a task, data set and column, and all that a paired test does not tell from it (p of 0.05 or "
    "more, Bonferroni over all pairs of encoders there)"
)
Leaders = Callable[[Sequence[Result]], Collection[str]]


def _none(_results: Sequence[Result]) -> Collection[str]:
    return ()


def latex(results: Sequence[Result], leaders: Leaders = _none, /) -> str:
    """Tables of at most ``WIDEST`` attacks: of each number its 95 % interval on the line below. ``leaders`` says which
    of several results are bold, by their ids. Failures and findings are comments below."""
    columns, rows = layout.layout(results)
    attacks = [name for name in columns if name != "clean"]
    clean = ["clean"] if len(attacks) < len(columns) else []
    best = _best(columns, rows, leaders)
    caption = wording.caption(results) + (f". {BOLD}" if best else "")
    starts = range(0, max(len(attacks), 1), WIDEST)
    tables = [
        _table([*clean, *attacks[at : at + WIDEST]], rows, best, caption, last=at + WIDEST >= len(attacks))
        for at in starts
    ]
    below = [tex.remark(line) for line in (*wording.failures(results), *wording.remarks(results))]
    return "\n\n".join([tex.NEEDS, *tables, *(["\n".join(below)] if below else [])]) + "\n"


def _blocks(rows: Sequence[layout.Row]) -> list[list[layout.Row]]:
    """The rows of each task and data set."""
    return [list(block) for _, block in groupby(rows, key=lambda row: row[:2])]


def _best(columns: Sequence[str], rows: Sequence[layout.Row], leaders: Leaders) -> set[str]:
    """The ids of what is bold."""
    found: set[str] = set()
    for block in _blocks(rows):
        for column in columns:
            found.update(leaders([row.results[column] for row in block if column in row.results]))
    return found


def _table(
    columns: Sequence[str], rows: Sequence[layout.Row], best: Collection[str], caption: str, *, last: bool
) -> str:
    gaps = transfer.transfer_ratios(rows) if last else []
    heads = ["encoder", *map(tex.head, columns), *([tex.head("transfer ratio")] if gaps else [])]
    ratio = dict(zip(map(id, rows), gaps))
    blocks: list[list[str]] = []
    for block in _blocks(rows):
        lines: list[str] = []
        for row in block:
            numbers = [row.results.get(name) for name in columns]
            long = len(row.encoder) > BESIDE
            lines += [f"{tex.across(tex.name(row.encoder), len(heads))} \\\\"] if long else []
            more = [tex.escaped(ratio[id(row)])] if gaps else []
            lines += _lines("" if long else tex.name(row.encoder), numbers, best, more)
        blocks.append([_heading(block[0], len(heads)), *lines])
    return tex.table(heads, blocks, caption)


def _heading(row: layout.Row, width: int) -> str:
    way = "up" if next(iter(row.results.values())).task["higher_is_better"] else "down"
    about = f"{tex.name(row.task)} on {tex.name(row.dataset)}: {tex.escaped(row.metric)}"
    said = f"\\emph{{{about}}} $\\{way}arrow$"
    return f"{tex.across(said, width)} \\\\"


def _lines(name: str, numbers: Sequence[Result | None], best: Collection[str], more: Sequence[str]) -> tuple[str, ...]:
    """The numbers of an encoder, and a line of their intervals where they have any."""
    parts = [wording.parts(result) for result in numbers]
    shown = [
        tex.bold(tex.escaped(number), bool(result and result.id in best))
        + (tex.escaped(wording.mark(result)) if result and result.failed is None else "")
        for result, (number, _) in zip(numbers, parts)
    ]
    intervals = [f"{{\\scriptsize {interval}}}" if interval else "" for _, interval in parts]
    first = tex.row([name, *shown, *more])
    return (first, tex.row(["", *intervals, *("" for _ in more)])) if any(intervals) else (first,)
