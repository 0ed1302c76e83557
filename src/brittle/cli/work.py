"""``brittle work`` and ``brittle status``: one worker of a run, and how far all of them are."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import typer

from brittle.core import files, progress
from brittle.core.errors import CellError, MissingError
from brittle.core.text import show
from brittle.planning.warm_start import titled
from brittle.results import journal, noted, store

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that brittle run has begun.")]


def work(
    run: Run,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    tied: Annotated[bool, typer.Option("--tied", hidden=True)] = False,
    of: Annotated[str, typer.Option("--of", hidden=True)] = "",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Be one of the workers of a run. It measures cells that nobody is at, until none is left. Any number may share a
    run folder, on one machine or on several; what one that dies leaves is taken up by the others.

    \b
    Examples:
      brittle run paper --executor manual --output-dir runs/paper
      brittle work runs/paper
      sbatch --array=1-8 --gpus=1 --wrap "brittle work runs/paper"
    """
    progress.quiet = quiet
    folder = store.Store(_begun(run))
    from brittle.api.running import results_of
    from brittle.evaluation.machine import machine
    from brittle.launch.parts.cell import Work
    from brittle.launch.parts.crew import tied as wait_for_the_end
    from brittle.launch.parts.worker import spoken, work_off
    from brittle.results.reporting import write

    if tied:
        Thread(target=wait_for_the_end, args=(lambda: os._exit(143),), daemon=True).start()
    mine = Work.noted(folder, machine(device, precision="fp32").device, of)
    with spoken(mine, echo=not tied):
        work_off(mine)
    if tied:
        return  # who started it has more to say
    results = results_of(folder, mine.plan)
    with folder.claim("report"):
        write(folder, results)
    if any(result.failed is not None for result in results):
        raise typer.Exit(CellError.exit_code)


def status(
    run: Run, as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False
) -> None:
    """Say how far a run is. Cells done and failed, what each worker is doing and where, and about how long the rest
    takes.

    \b
    Examples:
      brittle status runs/paper
      brittle status runs/paper --json
    """
    folder = store.Store(_begun(run))
    asked = noted.noted(folder.root)
    done = [name for name in asked["plan"] if folder.done(name, asked["checks"], asked["machine"]["keep"])]
    over = set(done)
    failed = [name for name in asked["plan"] if name not in over and folder.failed(name)]
    every = journal.workers(folder.root)
    alive = [worker for worker in every if worker.alive]
    lost = [worker for worker in every if not worker.alive and not worker.ended]
    left = len(asked["plan"]) - len(done) - len(failed)
    data: dict[str, Any] = {
        "cells": len(asked["plan"]),
        "done": len(done),
        "failed": {name: _reason(folder, name) for name in failed},
        "left": left,
        "seconds_left": _seconds_left(alive, left),
        "workers": [
            {key: getattr(worker, key) for key in ("name", "host", "pid", "device", "heard", "doing", "finished")}
            for worker in alive
        ],
        "lost_workers": len(lost),
    }
    show(json.dumps(data, indent=1) if as_json else "\n".join(_lines(data)))


def _begun(run: Path) -> Path:
    root = files.expanded(run)
    if not (root / noted.WORK).is_file():
        what = f"no work in {run}" if root.is_dir() else f"no run folder {run}"
        raise MissingError(f"{what}; start one with brittle run --executor manual --output-dir {run}")
    return root


def _reason(folder: store.Store, name: str) -> str:
    result = folder.failure(name)
    return f"{titled(result.cell)}: {result.failed}" if result else "damaged"


def _seconds_left(alive: Sequence[journal.Worker], left: int) -> float | None:
    """By the cells that those who are at work have finished since they began; None where none has."""
    rate = sum(worker.finished / max(1.0, time.time() - worker.began) for worker in alive)
    return round(left / rate) if rate else None


def _doing(what: str, count: int, total: int, unit: str) -> tuple[str, str]:
    return what, f"{count}/{total} {unit}"


def _lines(data: dict[str, Any]) -> list[str]:
    left = f", about {progress.duration(data['seconds_left'])}" if data["seconds_left"] is not None else ""
    failed = f", {len(data['failed'])} failed" if data["failed"] else ""
    lines = [f"{data['done']} of {data['cells']} cells done{failed}, {data['left']} left{left}"]
    for worker in data["workers"]:
        what = " ".join(_doing(*worker["doing"])) if worker["doing"] else "between two cells"
        heard = f", heard of {progress.duration(max(0.0, time.time() - worker['heard']))} ago"
        lines.append(f"{worker['host']} {worker['pid']} {worker['device']}: {what}{heard}")
    if data["lost_workers"]:
        who = "1 worker was" if data["lost_workers"] == 1 else f"{data['lost_workers']} workers were"
        taken = "; what they were at is taken up by the others" if data["left"] and data["workers"] else ""
        lines.append(f"{who} lost{taken}")
    if data["left"] and not data["workers"]:
        lines.append("nobody is at work; brittle work RUN, or the same brittle run again, goes on")
    return [*lines, *(f"failed: {why}" for why in data["failed"].values())]
