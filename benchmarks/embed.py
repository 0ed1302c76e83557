"""Time of EmbedAttack over its own floor: one forward and one backward a step, to the pixels, of the distance that the
features move, with frozen weights and nothing else; beside a loop as most people write it and, where it is installed,
foolbox's PGD on the same distance.

    python benchmarks/embed.py --json embed.json

The floor is handed the clean features; all others make them first, which is one forward more, and to keep the best
iterate takes another. All begin at the same random point, foolbox and the loops at its own.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from torch import Tensor

from attack import VIT, ours
from brittle.types import Batch, Encoder, frozen
from brittle.types.rng import Rng
from brittle.types.threat import Threat
from floors import EPS, SHARE, Value, classifier, floor, naive, other
from rounds import ROUNDS, in_turn, rows_of, show, tell

Tokens = Literal["cls", "grid"]


def tokens_of(encoder: Encoder, tokens: Tokens, images: Tensor) -> Tensor:
    """[B,T,D]: the pooled feature of each image, or its patch features."""
    pooled, grid = encoder(images)
    return pooled[:, None] if tokens == "cls" else grid.flatten(2).transpose(1, 2)


def distance(encoder: Encoder, tokens: Tokens, clean: Tensor) -> Value:
    """Mean squared difference from clean features [B,T,D], for each image [B]."""
    return lambda images: (tokens_of(encoder, tokens, images) - clean).square().mean((1, 2))


def loop(encoder: Encoder, tokens: Tokens, images: Tensor, steps: int, start: Tensor) -> Tensor:
    """As most people write it: see ``floors.naive``."""
    clean = tokens_of(encoder, tokens, images).detach()
    return naive(encoder, distance(encoder, tokens, clean), images, steps, start)


def others(encoder: Encoder, batch: Batch, tokens: Tokens, steps: int) -> dict[str, Callable[[], Tensor]]:
    """PGD of foolbox, which takes another loss; torchattacks' climbs cross entropy alone."""
    if not (foolbox := other("foolbox")):
        return {}

    class Moved(foolbox.attacks.LinfPGD):
        def get_loss_fn(self, model: Any, labels: Any) -> Callable[[Any], Any]:
            return lambda images: (model(images) - labels).square().mean((1, 2)).sum()

    def run() -> Tensor:
        clean = tokens_of(encoder, tokens, batch.images).detach()
        attack = Moved(abs_stepsize=EPS / SHARE, steps=steps)
        wrapped = foolbox.PyTorchModel(network, bounds=(0, 1), device=batch.images.device)
        kept = foolbox.criteria.Misclassification(clean)
        return attack.run(wrapped, batch.images, kept, epsilon=EPS)

    class Network(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return tokens_of(encoder, tokens, images)

    network = Network().eval()
    return {"foolbox LinfPGD": run}


def main(
    encoder: Annotated[str, typer.Option(help="Encoder spec.")] = VIT,
    images: Annotated[int, typer.Option(help="Images in the batch.")] = 8,
    steps: Annotated[int, typer.Option(help="Steps of each attack.")] = 20,
    tokens: Annotated[Tokens, typer.Option(help="What moves: the pooled feature, or the patch features.")] = "cls",
    rounds: Annotated[int, typer.Option(help="How often each is timed.")] = ROUNDS,
    path: Annotated[Path | None, typer.Option("--json", help="Where to write the figures too.")] = None,
) -> None:
    """Measure and print."""
    model, batch = classifier(encoder, images)
    network = model.encoder
    assert network is not None
    start = Threat("linf", EPS).sample(batch.images, Rng(0, batch.ids))
    with frozen(model):
        with torch.no_grad():
            moved = distance(network, tokens, tokens_of(network, tokens, batch.images))
        work = {"floor": partial(floor, moved, batch.images, steps, start)}
        work["naive loop"] = partial(loop, network, tokens, batch.images, steps, start)
        work |= others(network, batch, tokens, steps)
        for attack in (f"embed(steps={steps}, tokens={tokens}, keep=last)", f"embed(steps={steps}, tokens={tokens})"):
            work[attack] = partial(ours, attack, False, "fp32", model, batch)
        floor(moved, batch.images, 1, start)
        timed = in_turn(work, rounds)
        with torch.no_grad():
            far = {name: moved(found).mean().item() for name, found in timed.found.items()}
    rows = rows_of(timed.seconds, "floor", distance=far)
    show(rows, note=lambda row: f"distance {row['distance']:.4f}")
    tell(path, encoder=encoder, images=images, steps=steps, tokens=tokens, rows=rows)


if __name__ == "__main__":
    typer.run(main)
