"""Which attack is the strongest, image by image, and on how many images an ensemble does less damage than a single
attack of its run.

    brittle run benchmarks/strength/depth.yaml --precision fp32

    python benchmarks/strength.py runs/strength-depth

The plans of docs/attacks.md's tables are in benchmarks/strength; any run of several attacks will do.

Damage is 1 less the share of right answers, or metres. What an attack is the worst for, and what is left without it,
are of the single attacks in the run. A single attack beats an ensemble on an image where it does more damage by over a
thousandth: an ensemble's members see only the images that still stand, and in bfloat16 an image's last digits depend
on which others share its batch. Exit 1 where one beats an ensemble on more than one image in a hundred.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from brittle.core.records import Result
from brittle.core.tree import tree
from brittle.planning.warm_start import unwrapped
from brittle.results.store import Store, read_run

Damage = Mapping[str, NDArray[np.float64]]
SAME = 1e-9  # difference between two damages that is rounding in float32
CLOSE = 1e-3  # in bfloat16
FEW = 0.01  # of the images


def main(runs: Annotated[list[Path], typer.Argument(help="Run folders, each of cells on the same images.")]) -> None:
    """Print a table for each encoder, task, budget and seed of each run, then each ensemble against each single
    attack."""
    beaten = 0
    for run in runs:
        groups: dict[tuple[str, ...], list[Result]] = {}
        for result in read_run(run):
            if result.failed is None and result.cell.attack:
                cell = result.cell
                threat = f"{cell.norm} {cell.eps:.4f}"
                group = (cell.encoder, cell.dataset, cell.task, threat, f"seed {cell.seed}")
                groups.setdefault(group, []).append(result)
        for group, results in groups.items():
            damage = {unwrapped(str(result.cell.attack)): Store(run).samples(result.id)["damage"] for result in results}
            typer.echo(f"\n{' / '.join(group)}: {results[0].images} images")
            table(results, damage)
            beaten += versus(damage)
    raise typer.Exit(1 if beaten else 0)


def ensembles(names: Sequence[str]) -> list[str]:
    """Those that pick among the images of other attacks."""
    return [name for name in names if tree("attacks", name).attack_traits.picks]


def table(results: Sequence[Result], damage: Damage) -> None:
    """Headline and mean damage of each attack; of a single one also how often it is the worst, and what the worst of
    the others does."""
    many = ensembles(list(damage))
    single = {name: values for name, values in damage.items() if name not in many}
    worst = np.max(list(single.values()), axis=0)
    typer.echo(f"  {'attack':62} {'headline':>8} {'damage':>7} {'worst for':>9} {'without':>8} {'minutes':>7}")
    for result in results:
        name = unwrapped(str(result.cell.attack))
        share = left = ""
        if name in single and len(single) > 1:
            others = np.max([values for other, values in single.items() if other != name], axis=0)
            share, left = f"{np.mean(single[name] > others + SAME):.1%}", f"{np.nanmean(others):.4f}"
        head = result.metrics[result.task["headline"]]
        minutes = result.cost["seconds"] / 60
        typer.echo(f"  {name:62} {head:8.4f} {np.nanmean(damage[name]):7.4f} {share:>9} {left:>8} {minutes:7.1f}")
    typer.echo(f"  {'the worst of the single ones, image by image':62} {'':8} {np.nanmean(worst):7.4f}")


def versus(damage: Damage) -> int:
    """Say on what share of images each single attack beats each ensemble; how many do on more than a few."""
    many, found = ensembles(list(damage)), 0
    for name in many:
        for other in [one for one in damage if one not in many]:
            more = damage[other] - damage[name]
            share, most = float(np.mean(more > CLOSE)), float(np.nanmax(more))
            found += share > FEW
            by = f", by at most {most:.4f}" if share else ""
            typer.echo(f"  {other} beats {name} on {share:.1%} of images{by}")
    return found


if __name__ == "__main__":
    typer.run(main)
