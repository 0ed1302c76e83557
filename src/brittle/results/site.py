"""A static site of the runs of several people: a leaderboard for each protocol, and the page of each run."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from brittle.core import files
from brittle.reports.parts import board
from brittle.reports.parts.board import Run
from brittle.reports.parts.template import rendered
from brittle.results import reporting
from brittle.results.store import read_run

PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


def site(folders: Sequence[Path]) -> dict[str, str]:
    """The files of the site by their names: ``index.html`` is the board of most complete rows.

    Raises:
        MissingError: a folder holds no results.
    """
    runs: list[Run] = []
    pages: dict[str, str] = {}
    for folder in folders:
        results = read_run(folder)
        name = files.expanded(folder).resolve().name  # not where it lies on somebody's disk
        own = f"runs/{_free(name, pages)}.html"
        pages[own] = reporting.report("html", results, [folder])
        runs.append(Run(name, own, results))
    made = board.boards(runs)
    addresses = ["index.html", *(f"protocol-{each.hash[:12]}.html" for each in made[1:])]
    for address, each in zip(addresses, made):
        others = [pair for pair in zip(made, addresses) if pair[1] != address]
        mine = [run for run in runs if any(run in line.runs for line in each.lines)]
        values = {"board": each, "others": others, "runs": mine, "numbers": each.numbers.data()}
        pages[address] = rendered("board.html", title=board.title(each), **values)
    return pages


def _free(name: str, pages: Mapping[str, str]) -> str:
    """A name for the page of a run that no other has."""
    stem = PLAIN.sub("-", name)[:60].strip("-.") or "run"
    names = [stem, *(f"{stem}-{place}" for place in range(2, len(pages) + 2))]
    return next(each for each in names if f"runs/{each}.html" not in pages)
