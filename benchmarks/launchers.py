"""Each way to start workers, on this machine: the numbers of one process bitwise, also where a worker is killed in the
middle of a cell.

    PYTHONPATH=tests python benchmarks/launchers.py    # the demo; real SLURM too: benchmarks/slurm.sh
    PYTHONPATH=tests python benchmarks/launchers.py --plan demo --plan "-t classification"

Each has a run folder and a shared folder of its own, so that heads and features are made anew by its workers.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from bitwise import differing
from brittle.results.journal import workers
from brittle.results.store import Store

BRITTLE = [sys.executable, "-m", "brittle"]
WAYS = {
    "local, 2 workers": ["--devices", "2"],
    "two brittle work by hand": ["--executor", "manual"],
    "ray, 2 workers": ["--executor", "ray(devices=2)"],
    "submitit's local jobs, 2": ["--executor", "slurm(cluster=local, devices=2, cpus=1)"],
    "SLURM, 2 jobs": ["--executor", "slurm(devices=2, cpus=1)"],
}
LOOK = 0.1  # seconds between two looks for somebody to kill
LONGEST = 3600.0  # seconds of a run


def started(words: list[str], folder: Path, cache: Path, log: Path) -> subprocess.Popen[bytes]:
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "BRITTLE_CACHE": str(cache), "COLUMNS": "200"}
    with log.open("ab") as stream:
        return subprocess.Popen(
            [*BRITTLE, *words], cwd=folder.parent, env=surroundings, stdout=subprocess.DEVNULL, stderr=stream
        )


def victim(folder: Path) -> int:
    """The process of a worker that is in the middle of an attack, 0 where there is none."""
    for worker in workers(folder):
        if worker.alive and worker.doing and " linf" in str(worker.doing[0]):
            return worker.pid
    return 0


def run(plan: list[str], folder: Path, cache: Path, how: list[str], kill: bool) -> tuple[float, bool]:
    """Seconds, and whether a worker was killed."""
    log, began, killed = folder.with_suffix(".log"), time.monotonic(), False
    team = [started(["run", *plan, "--output-dir", str(folder), *how], folder, cache, log)]
    if "manual" in how:
        team[0].wait()
        team = [started(["work", str(folder)], folder, cache, log) for _ in range(2)]
    while any(process.poll() is None for process in team) and time.monotonic() - began < LONGEST:
        time.sleep(LOOK)
        if kill and not killed and folder.exists() and (pid := victim(folder)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed = True
    return time.monotonic() - began, killed


def main(
    plan: Annotated[list[str], typer.Option(help="A plan, and options of brittle run.")] = ["demo"],  # noqa: B006
    kill: Annotated[bool, typer.Option(help="Kill a worker of each in the middle of an attack.")] = True,
    only: Annotated[str, typer.Option(help="A part of the name of what to try.")] = "",
) -> None:
    """Try each and print a line for it."""
    words = [word for text in plan for word in shlex.split(text)]
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        took, _ = run(words, root / "straight", root / "straight-cache", [], False)
        names = Store(root / "straight").written()
        typer.echo(f"one process: {len(names)} cells, {took:.0f} s")
        bad = 0
        for number, (name, how) in enumerate(WAYS.items()):
            if only not in name or (name.startswith("SLURM") and not shutil.which("sbatch")):
                continue
            folder = root / f"way{number}"
            took, killed = run(words, folder, root / f"cache{number}", how, kill)
            wrong = differing(Store(root / "straight"), Store(folder), names)
            failed = len(list((folder / "failed").glob("*.json")))
            bad += len(wrong) + failed
            said = "the same numbers bitwise" if not wrong else f"{len(wrong)} DIFFERENT: {' '.join(wrong)[:80]}"
            died = "a worker killed in the middle of an attack" if killed else "nobody killed"
            typer.echo(f"{name}: {took:.0f} s, {died}, {failed} failed, {said}")
            if wrong or failed:
                typer.echo(folder.with_suffix(".log").read_text(errors="replace")[-2000:], err=True)
            shutil.rmtree(root / f"cache{number}", ignore_errors=True)
        raise typer.Exit(1 if bad else 0)


if __name__ == "__main__":
    typer.run(main)
