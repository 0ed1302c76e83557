"""A static site of the runs of several people: a leaderboard for each protocol, and the page of each run."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.reports.parts import board
from brittle.reports.parts.board import Run
from brittle.reports.parts.template import rendered
from brittle.results import reporting
from brittle.results.store import read_run

MARK = '<meta name="generator" content="brittle">'  # in the head of every page of ours
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


def refuse_other(folder: Path) -> None:
    """Refuse a folder that holds more than an earlier site, such as a run folder; hidden files are passed over.

    Raises:
        UsageError: the first thing of no site is named.
    """
    places = [place for place in (folder, folder / "runs") if place.is_dir()]
    held = sorted(path for place in places for path in place.iterdir() if path.name[0] != "." and path not in places)
    for path in held:
        if not path.is_file() or MARK.encode() not in path.read_bytes()[:2000]:
            raise UsageError(f"{folder} holds {path.relative_to(folder)}, which is of no site; name a new folder")


def _free(name: str, pages: Mapping[str, str]) -> str:
    """A name for the page of a run that no other has."""
    stem = PLAIN.sub("-", name)[:60].strip("-.") or "run"
    names = [stem, *(f"{stem}-{place}" for place in range(2, len(pages) + 2))]
    return next(each for each in names if f"runs/{each}.html" not in pages)
