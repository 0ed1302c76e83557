"""Time of attacks over the floor, which is one forward and one backward to the input a step with frozen weights and
nothing else; beside a loop as most people write it and, where they are installed, torchattacks and foolbox.

    python benchmarks/attack.py --json attack.json

All run in turn in one process, so ratios hold when the machine's speed drifts; the times themselves do not. Labels are
what the model says of the clean images, so that each of them has to be attacked.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from brittle.attacks.parts.run import attacked
from brittle.types import Batch, Model, frozen
from brittle.types.rng import Rng
from brittle.types.threat import Threat
from floors import EPS, SHARE, classifier, floor, loss_of, naive, other
from rounds import ROUNDS, in_turn, rows_of, show, tell

VIT = "timm:vit_small_patch16_224.augreg_in21k(pretrained=false)"


def ours(attack: str, settles: bool, precision: str, model: Model, batch: Batch) -> Tensor:
    threat, rng = Threat("linf", EPS), Rng(0, batch.ids)
    return attacked(model, attack, batch, threat, rng, precision=precision, settles=settles)


def others(model: Model, batch: Batch, steps: int) -> dict[str, Callable[[], Tensor]]:
    """PGD of the other libraries that are installed."""
    found: dict[str, Callable[[], Tensor]] = {}
    if torchattacks := other("torchattacks"):
        theirs = torchattacks.PGD(model, eps=EPS, alpha=EPS / SHARE, steps=steps)
        found["torchattacks PGD"] = lambda: theirs(batch.images, batch.target)
    if foolbox := other("foolbox"):
        attack = foolbox.attacks.LinfPGD(abs_stepsize=EPS / SHARE, steps=steps)
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=batch.images.device)
        found["foolbox LinfPGD"] = lambda: attack(wrapped, batch.images, batch.target, epsilons=EPS)[1]
    return found


def ways(model: Model, batch: Batch, steps: int, precisions: list[str]) -> dict[str, Callable[[], Tensor]]:
    """Everything that is timed, by name."""
    value = loss_of(model, batch)
    work: dict[str, Callable[[], Tensor]] = {"floor": partial(floor, value, batch.images, steps)}
    work["naive loop"] = partial(naive, model, value, batch.images, steps)
    work |= others(model, batch, steps)
    for how in precisions:
        for attack in (f"pgd(steps={steps}, keep=last)", f"pgd(steps={steps})", f"embed(steps={steps})"):
            work[f"{attack} {how}"] = partial(ours, attack, False, how, model, batch)
        for attack in (f"pgd(steps={steps})", f"apgd(steps={steps})", f"autoattack(steps={steps}, queries={steps})"):
            work[f"{attack} {how}, settling"] = partial(ours, attack, True, how, model, batch)
    return work


def main(
    encoder: Annotated[str, typer.Option(help="Encoder spec.")] = VIT,
    images: Annotated[int, typer.Option(help="Images in the batch.")] = 8,
    steps: Annotated[int, typer.Option(help="Steps of each attack.")] = 20,
    rounds: Annotated[int, typer.Option(help="How often each is timed.")] = ROUNDS,
    precision: Annotated[str, typer.Option(help="Of ours besides fp32: bf16, or nothing.")] = "",
    path: Annotated[Path | None, typer.Option("--json", help="Where to write the figures too.")] = None,
) -> None:
    """Measure and print."""
    model, batch = classifier(encoder, images)
    with frozen(model):
        floor(loss_of(model, batch), batch.images, 1)
        timed = in_turn(ways(model, batch, steps, ["fp32", *([precision] if precision else [])]), rounds)
        with torch.no_grad():
            left = {name: (model(found).argmax(1) == batch.target) for name, found in timed.found.items()}
    accuracy = {name: right.float().mean().item() for name, right in left.items()}
    rows = rows_of(timed.seconds, "floor", accuracy=accuracy)
    show(rows, note=lambda row: f"accuracy {row['accuracy']:.3f}")
    tell(path, encoder=encoder, images=images, steps=steps, rows=rows)


if __name__ == "__main__":
    typer.run(main)
