"""CPU seconds of commands that compute nothing, and of ``import brittle``, beside an empty Python and one that imports
torch.

    python benchmarks/startup.py --run runs/demo --json startup.json
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

COMMANDS = (["--help"], ["--version"], ["list"], ["list", "attacks"], ["info", "pgd"], ["run", "--help"])


def seconds(arguments: list[str]) -> float:
    """CPU seconds of a Python with these arguments, of all its threads."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main(
    run: Annotated[str, typer.Option(help="A run folder whose report is shown too.")] = "",
    rounds: Annotated[int, typer.Option(help="How often each is timed, one after the other.")] = 5,
    path: Annotated[Path | None, typer.Option("--json", help="Where to write the figures too.")] = None,
) -> None:
    """Measure and print."""
    work = {"python -c pass": ["-c", "pass"], "import torch": ["-c", "import torch"]}
    work["import brittle"] = ["-c", "import brittle"]
    work |= {f"brittle {' '.join(command)}": ["-m", "brittle", *command] for command in COMMANDS}
    if run:
        work["brittle report RUN"] = ["-m", "brittle", "report", run]
    for arguments in work.values():  # so that what Python compiles is compiled
        seconds(arguments)
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, arguments in work.items():
            times[name].append(seconds(arguments))
    for name, values in times.items():
        typer.echo(f"{name:24} {statistics.median(values):5.2f} [{min(values):.2f}, {max(values):.2f}] s of CPU")
    if path is not None:
        path.write_text(json.dumps(times, indent=1))


if __name__ == "__main__":
    typer.run(main)
