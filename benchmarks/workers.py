"""What several workers bring: the same cells by one single-threaded worker and by two, in one run of this script.

    python benchmarks/workers.py --cells 6 --workers 2

Prints the seconds that measuring took, from the first worker's first line to the last one's last, and their ratio. The
start of the processes is not in it; what they wait for each other is. Numbers are compared too.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from brittle.results.journal import Tail
from brittle.results.store import read_run


def seconds(folder: Path, cells: int, workers: int, cache: Path) -> float:
    """What so many cells take so many workers."""
    seeds = [word for seed in range(cells) for word in ("--seed", str(seed))]
    what = ("-e", "embedded:deacl", "-d", "scenes(train=64, val=32, test=64)", "-t", "classification(head=knn)")
    made = [sys.executable, "-m", "brittle"]
    words = ("-a", "pgd(steps=20)", "--checks", "none", "--limit", "64", "--output-dir", str(folder))
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "BRITTLE_CACHE": str(cache)}
    prepare = [*made, "run", *what, *words, *seeds, "--executor", "manual", "-q"]
    subprocess.run(prepare, env=surroundings, check=True, stdout=subprocess.DEVNULL)
    team = [subprocess.Popen([*made, "work", str(folder), "-q"], env=surroundings) for _ in range(workers)]
    for process in team:
        process.wait()
    times = [at for _, at, _, _ in Tail(folder, past=True)]
    return max(times) - min(times)


def main(
    cells: Annotated[int, typer.Option(help="Attacked cells, and as many clean ones.")] = 6,
    workers: Annotated[int, typer.Option(help="Workers to set beside one.")] = 2,
) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        seconds(root / "warm", 1, 1, root / "cache")  # scenes and features are there for both
        one, several = (seconds(root / f"{count}", cells, count, root / "cache") for count in (1, workers))
        numbers = [{result.id: result.metrics for result in read_run(root / f"{count}")} for count in (1, workers)]
        same = "the same numbers" if numbers[0] == numbers[1] else "OTHER NUMBERS"
        typer.echo(
            f"1 worker {one:.1f} s, {workers} workers {several:.1f} s: {one / several:.2f} times the rate, {same}"
        )


if __name__ == "__main__":
    typer.run(main)
