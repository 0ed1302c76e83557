"""What each quirk of the paper's code does to mIoU and RMSE: clean, under EmbedAttack, under the task's own attack.

    python benchmarks/quirks.py

Prints a Markdown table for each encoder: the numbers without quirks with half of their 95 % intervals, then how far
each quirk by itself, and all together, move them, with half of the 95 % interval of the difference on the same images.
0: a number stays as it is. Empty: the quirk is about the other task.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from torch import Tensor

import brittle
from brittle.core.records import Result
from brittle.planning.identity import task_of
from brittle.planning.protocols import QUIRKS
from brittle.results.paired_tests import paired
from brittle.results.store import Store


class Measured(NamedTuple):
    """A task: its own attack, how many images its head is fitted on, and the quirks that are about it."""

    attack: str
    train: int
    quirks: frozenset[str]


SAME = 1e-9  # difference that is rounding
BOTH = {"std_228", "chosen_on_test", "last_iterate", "unnormalised_dense"}
MASKS = {
    "nearest_images", "resized_masks", "void_as_background", "softmax_windows", "double_softmax", "groups_apart",
    "background_ignored", "precision_as_accuracy",
}  # fmt: skip
METRES = {"random_flips", "padding_14", "sigloss_warmup", "gradient_rows", "depth_unmasked"}
TASKS = {
    "segmentation": Measured("segpgd", 256, frozenset(BOTH | MASKS)),
    "depth": Measured("depthpgd", 1024, frozenset(BOTH | METRES)),
}


def statistics(store: Store, result: Result) -> dict[str, Tensor]:
    """The per-image statistics of a result."""
    return {key: torch.as_tensor(rows) for key, rows in store.samples(result.id).items() if key != "ids"}


def value(result: Result) -> str:
    """The headline of a result with half of its interval."""
    name = result.task["headline"]
    low, high = result.intervals[name]
    return f"{result.metrics[name]:.3f} ± {(high - low) / 2:.3f}"


def moved(store: Store, result: Result, usual: Result) -> str:
    """How far a result's headline is from the usual one, with half of the interval; 0 where it is the same."""
    task = task_of(result.cell.task)
    found = paired(task, task.headline, statistics(store, result), statistics(store, usual))
    half = (found.high - found.low) / 2
    if abs(found.difference) < SAME:
        return "0"
    return f"{found.difference:+.3f}{f' ± {half:.3f}' if math.isfinite(half) else ''}"


def main(
    encoder: Annotated[list[str] | None, typer.Option(help="Encoders.")] = None,
    steps: Annotated[int, typer.Option(help="Of each attack.")] = 10,
    limit: Annotated[int, typer.Option(help="How many test images.")] = 64,
    output_dir: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/quirks"),
) -> None:
    """Measure and print."""
    store = Store(output_dir)

    def row(name: str, task: str, quirks: str) -> Sequence[Result]:
        about = TASKS[task]
        data = f"scenes(size=96, train={about.train}, val=64, test={limit})"  # larger than the encoders' 64 pixels
        attacks = [f"{attack}(steps={steps})" for attack in ("embed", about.attack)]
        protocol = f"paper(quirks={quirks})"
        return brittle.run([name], [data], [task], attacks, protocol=protocol, checks="none", output_dir=output_dir)

    for name in encoder or ["embedded:dino", "embedded:deacl"]:
        usual = {task: row(name, task, "[]") for task in TASKS}
        lines = [
            [
                "",
                *(
                    f"{task_of(task).headline} {what}"
                    for task in TASKS
                    for what in ("clean", "embed", TASKS[task].attack)
                ),
            ]
        ]
        lines += [["---", *["---:"] * 6], ["none", *(value(result) for task in TASKS for result in usual[task])]]
        for quirk in [quirk for quirk in QUIRKS if any(quirk in about.quirks for about in TASKS.values())] + ["all"]:
            cells: list[str] = []
            for task, about in TASKS.items():
                if quirk != "all" and quirk not in about.quirks:
                    cells += [""] * 3
                    continue
                results = row(name, task, "all" if quirk == "all" else f"[{quirk}]")
                cells += [moved(store, *pair) for pair in zip(results, usual[task])]
            lines.append([f"`{quirk}`", *cells])
        typer.echo("\n".join([f"\n{name}\n", *(f"| {' | '.join(line)} |" for line in lines)]), color=False)


if __name__ == "__main__":
    typer.run(main)
