"""Time of commands that compute nothing, and of ``import brittle``, over an empty Python and one that imports torch;
beside one that imports all it may need, as most scripts do.

    OMP_NUM_THREADS=1 python benchmarks/startup.py --run runs/demo --json startup.json
"""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rounds import ROUNDS, in_turn, rows_of, show, tell

COMMANDS = (["--help"], ["--version"], ["list"], ["list", "attacks"], ["info", "pgd"], ["run", "--help"])
EMPTY, TORCH, NAIVE = "python -c pass", "import torch", "import torch, timm, typer"


def start(arguments: list[str]) -> None:
    """A Python with these arguments, to its end."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def main(
    run: Annotated[str, typer.Option(help="A run folder whose report is shown too.")] = "",
    rounds: Annotated[int, typer.Option(help="How often each is timed, one after the other.")] = ROUNDS,
    path: Annotated[Path | None, typer.Option("--json", help="Where to write the figures too.")] = None,
) -> None:
    """Measure and print."""
    work = {EMPTY: ["-c", "pass"], TORCH: ["-c", TORCH], NAIVE: ["-c", NAIVE]}
    work["import brittle"] = ["-c", "import brittle"]
    work |= {f"brittle {' '.join(command)}": ["-m", "brittle", *command] for command in COMMANDS}
    if run:
        work["brittle report RUN"] = ["-m", "brittle", "report", run]
    for arguments in work.values():  # so that what Python compiles is compiled
        start(arguments)
    timed = in_turn({name: partial(start, arguments) for name, arguments in work.items()}, rounds)
    rows = rows_of(timed.seconds, EMPTY, TORCH)
    show(rows)
    tell(path, rows=rows)


if __name__ == "__main__":
    typer.run(main)
