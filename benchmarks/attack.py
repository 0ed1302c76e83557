"""Time of attacks over the floor, which is one forward and one backward to the input a step with frozen weights and
nothing else; beside a loop as most people write it and, where they are installed, torchattacks and foolbox.

    python benchmarks/attack.py --json attack.json

All run in turn in one process, so ratios hold when the machine's speed drifts; the times themselves do not. Labels are
what the model says of the clean images, so that each of them has to be attacked.
"""

import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

import brittle
from brittle.attacks.parts.run import attacked
from brittle.planning import identity
from brittle.types import Batch, Model, frozen
from brittle.types.rng import Rng
from brittle.types.threat import Threat

EPS = 8 / 255


def floor(model: Model, batch: Batch, steps: int) -> Tensor:
    """The least a PGD can do."""
    images = batch.images.clone()
    for _ in range(steps):
        images.requires_grad_()
        (gradient,) = torch.autograd.grad(model.task.loss(model(images), batch.target).sum(), images)
        moved = images.detach() + EPS / 4 * gradient.sign()
        images = torch.min(torch.max(moved, batch.images - EPS), batch.images + EPS).clamp(0, 1)
    return images


def naive(model: Model, batch: Batch, steps: int) -> Tensor:
    """As most people write it: weights not frozen, backward into all of them."""
    for weight in model.parameters():
        weight.requires_grad_(True)
    images = batch.images.clone()
    for _ in range(steps):
        images.requires_grad_()
        model.task.loss(model(images), batch.target).sum().backward()
        assert images.grad is not None
        moved = images.detach() + EPS / 4 * images.grad.sign()
        images = (batch.images + (moved - batch.images).clamp(-EPS, EPS)).clamp(0, 1)
    for weight in model.parameters():
        weight.requires_grad_(False)
        weight.grad = None
    return images


def ours(attack: str, settles: bool, precision: str, model: Model, batch: Batch) -> Tensor:
    threat, rng = Threat("linf", EPS), Rng(0, batch.ids)
    return attacked(model, attack, batch, threat, rng, precision=precision, settles=settles)


def others(model: Model, steps: int) -> dict[str, Callable[[Batch], Tensor]]:
    """PGD of the other libraries that are installed."""
    found: dict[str, Callable[[Batch], Tensor]] = {}
    try:
        theirs: Any = import_module("torchattacks").PGD(model, eps=EPS, alpha=EPS / 4, steps=steps)
        found["torchattacks PGD"] = lambda batch: theirs(batch.images, batch.target)
    except ImportError:
        pass
    try:
        foolbox: Any = import_module("foolbox")
        attack = foolbox.attacks.LinfPGD(abs_stepsize=EPS / 4, steps=steps)
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=next(model.parameters()).device)
        found["foolbox LinfPGD"] = lambda batch: attack(wrapped, batch.images, batch.target, epsilons=EPS)[1]
    except ImportError:
        pass
    return found


def main(
    encoder: Annotated[
        str, typer.Option(help="Encoder spec.")
    ] = "timm:vit_small_patch16_224.augreg_in21k(pretrained=false)",
    images: Annotated[int, typer.Option(help="Images in the batch.")] = 8,
    steps: Annotated[int, typer.Option(help="Steps of each attack.")] = 20,
    rounds: Annotated[int, typer.Option(help="How often each is timed.")] = 5,
    precision: Annotated[str, typer.Option(help="Of ours besides fp32: bf16, or nothing.")] = "",
    path: Annotated[Path | None, typer.Option("--json", help="Where to write the figures too.")] = None,
) -> None:
    """Measure and print."""
    made, task = brittle.load_encoder(encoder), identity.task_of("classification")
    model = Model(task, task.head(made.dim, 10), made).eval()
    torch.manual_seed(0)
    torch.nn.init.normal_(model.head.linear.weight, std=0.02)  # type: ignore[union-attr]
    pictures = (torch.rand(images, 3, made.size, made.size) * 255).round() / 255
    with torch.no_grad():
        batch = Batch(pictures, model(pictures).argmax(1), [str(i) for i in range(images)])
    work: dict[str, Callable[[], Tensor]] = {"floor": partial(floor, model, batch, steps)}
    work["naive loop"] = partial(naive, model, batch, steps)
    work |= {name: partial(theirs, batch) for name, theirs in others(model, steps).items()}
    for how in ("fp32", precision) if precision else ("fp32",):
        for attack in (f"pgd(steps={steps}, keep=last)", f"pgd(steps={steps})", f"embed(steps={steps})"):
            work[f"{attack} {how}"] = partial(ours, attack, False, how, model, batch)
        for attack in (f"pgd(steps={steps})", f"apgd(steps={steps})", f"autoattack(steps={steps}, queries={steps})"):
            work[f"{attack} {how}, settling"] = partial(ours, attack, True, how, model, batch)
    times: dict[str, list[float]] = {name: [] for name in work}
    right: dict[str, float] = {}
    with frozen(model):
        floor(model, batch, 1)
        for _ in range(rounds):
            for name, run in work.items():
                began = time.perf_counter()
                found = run()
                times[name].append(time.perf_counter() - began)
                with torch.no_grad():
                    right[name] = (model(found).argmax(1) == batch.target).float().mean().item()
    rows = {}
    for name, values in times.items():
        each = [value / least for value, least in zip(values, times["floor"])]
        rows[name] = {"ratio": statistics.median(each), "low": min(each), "high": max(each), "accuracy": right[name]}
        row = rows[name]
        typer.echo(
            f"{name:46} {row['ratio']:5.2f} [{row['low']:.2f}, {row['high']:.2f}] of the floor, "
            f"{images * steps / statistics.median(values):7.1f} image-steps/s, accuracy {row['accuracy']:.3f}"
        )
    typer.echo(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    if path is not None:
        facts = {"encoder": encoder, "images": images, "steps": steps, "threads": torch.get_num_threads()}
        path.write_text(json.dumps({**facts, "torch": torch.__version__, "rows": rows}, indent=1))


if __name__ == "__main__":
    typer.run(main)
