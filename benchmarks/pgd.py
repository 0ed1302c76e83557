"""Time of our PGD over the floor: one forward and one backward to the input a step with frozen weights, nothing else.

    python benchmarks/pgd.py

Both run in turn in one process, so the ratio holds when the machine's speed drifts; the times themselves do not.
"""

import statistics
import time
from collections.abc import Callable
from typing import Annotated

import torch
import typer

import brittle
from brittle.core.components import build
from brittle.planning import identity
from brittle.types import Batch, Model, frozen
from brittle.types.rng import Rng
from brittle.types.threat import Threat


def floor(model: Model, batch: Batch, threat: Threat, steps: int) -> None:
    """The least a PGD can do."""
    images = batch.images.clone()
    for _ in range(steps):
        images.requires_grad_()
        (gradient,) = torch.autograd.grad(model.task.loss(model(images), batch.target).sum(), images)
        moved = images.detach() + threat.eps / 4 * gradient.sign()
        images = torch.min(torch.max(moved, batch.images - threat.eps), batch.images + threat.eps).clamp(0, 1)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main(
    encoder: Annotated[
        str, typer.Option(help="Encoder spec.")
    ] = "timm:vit_small_patch16_224.augreg_in21k(pretrained=false)",
    images: Annotated[int, typer.Option(help="Images in the batch.")] = 8,
    steps: Annotated[int, typer.Option(help="Steps of each attack.")] = 10,
    rounds: Annotated[int, typer.Option(help="How often each is timed.")] = 5,
) -> None:
    """Measure and print."""
    made, task = brittle.load_encoder(encoder), identity.task_of("classification")
    model = Model(task, task.head(made.dim, 10), made).eval()
    torch.nn.init.normal_(model.head.linear.weight, std=0.02)  # type: ignore[union-attr]
    images = torch.rand(images, 3, made.size, made.size)
    batch = Batch(images, torch.arange(images) % 10, [str(i) for i in range(images)])
    threat = Threat("linf", 8 / 255)
    names = [f"pgd(steps={steps}, keep=last)", f"pgd(steps={steps})", f"embed(steps={steps})"]
    work = {name: lambda name=name: build("attacks", name, model, batch, threat, Rng(0, batch.ids)) for name in names}
    with frozen(model):
        floor(model, batch, threat, 1)
        times: dict[str, list[float]] = {"floor": [], **{name: [] for name in names}}
        for _ in range(rounds):
            times["floor"].append(seconds(lambda: floor(model, batch, threat, steps)))
            for name, attack in work.items():
                times[name].append(seconds(attack))
    base = times["floor"]
    for name, values in times.items():
        ratio = statistics.median(value / least for value, least in zip(values, base))
        rate = images * steps / statistics.median(values)
        print(f"{name:32} {ratio:5.2f} of the floor, {rate:7.1f} image-steps/s, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    typer.run(main)
