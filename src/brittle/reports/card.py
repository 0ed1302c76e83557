"""A section for a model card on a hub: metadata that the hub reads (``model-index``), a sentence, a short table, the
protocol, what checks found, and the command that measures it again."""

import html
from collections.abc import Sequence
from typing import Any

import yaml

from brittle.core.budget import eps_text
from brittle.core.errors import BrittleError
from brittle.core.records import Result
from brittle.core.text import plain
from brittle.core.traits import ReportTraits
from brittle.planning.identity import task_of
from brittle.reports.parts import answer, layout, wording
from brittle.reports.parts.commands import commands
from brittle.reports.parts.seeds import over_seeds

TRAITS = ReportTraits(ending=".md")
HUB = (  # what a task's predictions are, and what the hub calls a task of such
    ({"classes", "per_image"}, "image-classification"),
    ({"classes", "per_pixel"}, "image-segmentation"),
    ({"metres"}, "depth-estimation"),
)
OTHER = "image-feature-extraction"


def card(results: Sequence[Result], /) -> str:
    """Markdown below metadata in YAML: an entry and a section for each encoder. Numbers of which a check failed are in
    the table, marked, and not in the metadata."""
    by_encoder: dict[str, list[Result]] = {}
    for result in results:
        by_encoder.setdefault(result.cell.encoder, []).append(result)
    index = [_entry(name, over_seeds(mine)) for name, mine in by_encoder.items()]
    metadata = yaml.safe_dump({"model-index": index}, sort_keys=False, allow_unicode=True, width=1000)
    sections = [_section(name, mine) for name, mine in by_encoder.items()] or ["Nothing has been measured yet.\n"]
    return "\n".join([f"---\n{metadata}---\n", "## Adversarial robustness\n", *sections])


# --- metadata ---------------------------------------------------------------------------------------------------------


def _entry(encoder: str, results: Sequence[Result]) -> dict[str, Any]:
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if answer.trusted(result):
            groups.setdefault((result.cell.task, result.cell.dataset), []).append(result)
    made = [
        {
            "task": {"type": _hub_task(task), "name": plain(task)},
            "dataset": {"type": plain(dataset.partition("(")[0]), "name": plain(dataset), "split": "test"},
            "metrics": [_metric(result) for result in each],
        }
        for (task, dataset), each in groups.items()
    ]
    return {"name": plain(encoder), "results": made}


def _hub_task(task: str) -> str:
    try:
        abilities = task_of(task).abilities
    except BrittleError:  # a task that is not there any more
        return OTHER
    return next((name for needed, name in HUB if needed <= abilities), OTHER)


def _metric(result: Result) -> dict[str, Any]:
    cell, headline = result.cell, str(result.task["headline"])
    under = wording.attack_text(cell)
    made: dict[str, Any] = {"type": headline, "value": round(answer.value(result), 6)}
    made["name"] = plain(f"{headline} ({under})")
    if cell.attack:
        made["args"] = {"attack": plain(cell.attack), "eps": eps_text(cell.eps, cell.norm), "norm": cell.norm}
    return made


# --- the section ------------------------------------------------------------------------------------------------------


def _section(encoder: str, results: Sequence[Result]) -> str:
    columns, rows = layout.layout(results)
    main = answer.main_budget(over_seeds(results))
    scores = answer.scores(rows, main)
    name = answer.task_name(rows)
    head = ["task", "metric", *columns]
    body = [[name(row), row.metric, *(wording.text(row.results.get(column)) for column in columns)] for row in rows]
    table = [head, ["---"] * 2 + ["---:"] * len(columns), *body]
    below = [*wording.failures(results), *wording.remarks(results)]
    versions = dict.fromkeys(str(each.made_by.get("versions", {}).get("brittle", "")) for each in results)
    by = f"brittle {' and '.join(filter(None, versions))}".strip()
    within = f" under the strongest attack tried within {answer.budget_text(main)}" if main else ""
    parts = [
        f"### {_text(encoder)}",
        _text(f"What becomes of each score{within}, measured by {by}:"),
        "\n".join(f"- {_text(name(score.row))}: {_text(answer.sentence(score, main))}." for score in scores),
        "\n".join(f"| {' | '.join(_text(cell) for cell in row)} |" for row in table),
        f"Protocol: {_text(wording.caption(results))}.",
        "What checks found:\n\n" + "\n".join(map(_text, below)) if below else "No check found anything.",
        "Measured again by\n\n```sh\n" + "\n".join(commands(results)) + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _text(text: str) -> str:
    """Text that is neither markup nor the end of a cell."""
    return html.escape(" ".join(plain(text).split()), quote=False).replace("|", "\\|").replace("`", "\\`")
