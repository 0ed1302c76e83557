"""Time of fitting heads for twenty epochs: on features that are kept, over computing them anew in each epoch; and all
learning rates in one pass over one rate alone; for each task, beside the floor and a loop as most people write it.

    python benchmarks/fit.py --json fit.json

The recipe is the standard one but for twenty epochs and no early stop; the val split is looked at once an epoch. The
floor is one head with one rate on features that lie in memory: forward, backward, step, and the same looks at val,
nothing else. How good heads are is in ``benchmarks/heads.py``.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import torch
import typer
from torch import Tensor, nn

from brittle.core import shared
from brittle.core.records import Cell
from brittle.evaluation import heads, loading, looks
from brittle.evaluation.cache import LIMIT
from brittle.evaluation.heads import _rows  # pyright: ignore[reportPrivateUsage]
from brittle.evaluation.machine import Machine
from brittle.evaluation.measure import encoder_of
from brittle.evaluation.paper import protocol_on
from brittle.evaluation.probe import LOOKS
from brittle.evaluation.protocol import Protocol
from brittle.planning.identity import Resolved, resolve
from brittle.types import Encoder, Features, predict
from rounds import ROUNDS, in_turn, ratio, rows_of, show, tell

TASKS = ("classification", "segmentation", "depth")
MACHINE = Machine()
ANEW, FIRST, KEPT, ONE = "features anew each epoch", "features made first", "features there", "features there, one rate"


class Fit(NamedTuple):
    """What is fitted: a cell, its encoder and its protocol."""

    resolved: Resolved
    encoder: Encoder
    rule: Protocol


def fit_of(encoder: str, data: str, task: str, epochs: int) -> Fit:
    resolved = resolve(Cell(encoder, data, task, None, None, None, 0, None, "standard"))
    network = encoder_of(encoder, MACHINE.device, resolved.weights)
    rule = protocol_on("standard", data, resolved.task, network)
    batch = min(rule.recipe.batch, len(resolved.data("train")))  # else steps are fewer than epochs
    recipe = replace(rule.recipe, epochs=epochs, batch=batch, steps=0, many=0, patience=LOOKS + 1)
    return Fit(resolved, network, replace(rule, recipe=recipe))


def one_rate(what: Fit) -> Fit:
    """The same with the middle one of the learning rates."""
    rates = what.rule.recipe.rates
    return what._replace(rule=replace(what.rule, recipe=replace(what.rule.recipe, rates=(rates[len(rates) // 2],))))


def head(what: Fit) -> nn.Module:
    return heads.head(*what, MACHINE)


def forget(name: str) -> None:
    """Before a way is timed: no head is there, features are or are not, or have no room."""
    os.environ[LIMIT] = "0" if name == ANEW else "100"
    for kind in ("heads", *(["features", "targets"] if name == FIRST else [])):
        shutil.rmtree(shared.folder(kind), ignore_errors=True)


def batches(what: Fit, split: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Images [B,3,H,W] and targets of a split in its order."""
    resolved, _, rule = what
    data = resolved.data(split)
    for batch in loading.batches(data, range(len(data)), resolved.task, rule, MACHINE):
        yield batch.images, batch.target


def rows(what: Fit) -> dict[str, list[tuple[Features, Tensor]]]:
    """Features and targets of both splits as a fit of ours reads them."""
    splits = {split: what.resolved.data(split) for split in ("train", "val")}
    return {split: list(found) for split, found in _rows(*what, MACHINE, splits).items()}


@torch.no_grad()
def seen(encoder: Encoder, images: Tensor) -> Features:
    return encoder(images)


def epochs_of(
    what: Fit,
    train: Callable[[Tensor], tuple[Features, Tensor]],
    count: int,
    val: Callable[[], Iterable[tuple[Features, Tensor]]],
    fine: int,
) -> nn.Module:
    """A head with one rate, fitted in a loop that does nothing else.

    Args:
        train: places in the train split, of which there are ``count``, to features and targets.
        val: gives the batches of the val split.
        fine: predictions along a cell's edge; 0 for every pixel of the target.
    """
    resolved, encoder, rule = what
    made = resolved.task.head(encoder.dim, loading.classes_of(resolved.data("train"), resolved.task.target)).eval()
    optimiser = torch.optim.AdamW(made.parameters(), lr=1e-3, fused=bool(fine))

    def loss(features: Features, target: Tensor) -> Tensor:
        patch, target = thinned(features, target, encoder.patch, fine)
        size = looks.size(features, patch, target)
        return resolved.task.loss(predict(made, features, patch, size), target).mean()

    for _ in range(rule.recipe.epochs):
        for places in torch.randperm(count).split(rule.recipe.batch):
            optimiser.zero_grad()
            loss(*train(places)).backward()
            optimiser.step()
        with torch.no_grad():
            for features, target in val():
                loss(features, target)
    return made


def thinned(features: Features, target: Tensor, patch: int, fine: int) -> tuple[int, Tensor]:
    """Predictions along a cell's edge, and the target at as many places."""
    if target.dim() < 3 or not fine:
        return patch, target
    left = min(fine, patch)
    every = max(1, target.shape[-1] // (features.grid.shape[-1] * left))
    return left, target[..., ::every, ::every]


def floor(what: Fit, kept: dict[str, tuple[Features, Tensor]]) -> nn.Module:
    """See the top of this file; ``kept`` are float32 features and targets of each split."""
    features, target = kept["train"]

    def train(places: Tensor) -> tuple[Features, Tensor]:
        return Features(*(part[places] for part in features)), target[places]

    return epochs_of(what, train, len(target), lambda: [kept["val"]], what.rule.recipe.fine or 4)


def naive(what: Fit, kept: dict[str, tuple[Tensor, Tensor]]) -> nn.Module:
    """As most people write it: images [N,3,H,W] in memory, the encoder run on each batch, every pixel predicted."""
    images, target = kept["train"]

    def train(places: Tensor) -> tuple[Features, Tensor]:
        return seen(what.encoder, images[places]), target[places]

    def val() -> Iterator[tuple[Features, Tensor]]:
        for part, truth in zip(*(each.split(what.rule.recipe.batch) for each in kept["val"])):
            yield seen(what.encoder, part), truth

    return epochs_of(what, train, len(target), val, 0)


def whole(parts: Sequence[tuple[Features, Tensor]]) -> tuple[Features, Tensor]:
    """All batches in one, in float32."""
    features = Features(*(torch.cat([each[0][i] for each in parts]).float() for i in range(2)))
    target = torch.cat([target for _, target in parts])
    return features, target if target.is_floating_point() else target.long()


def equal(one: dict[str, list[tuple[Features, Tensor]]], other: dict[str, list[tuple[Features, Tensor]]]) -> bool:
    """Whether features and targets are the same, bit by bit."""
    pairs = [pair for split in one for pair in zip(one[split], other[split], strict=True)]
    return all(
        all(map(torch.equal, a, b)) and torch.equal(t.long(), u.long())
        if not t.is_floating_point()
        else torch.equal(t, u)
        for (a, t), (b, u) in pairs
    )


def measured(what: Fit, rounds: int) -> dict[str, object]:
    """The rows of one task, the two ratios that are wanted, and whether features are the same either way."""
    forget(ANEW)
    anew = rows(what)
    forget(FIRST)
    kept = rows(what)
    images = {split: tuple(map(torch.cat, zip(*batches(what, split)))) for split in kept}
    work: dict[str, Callable[[], nn.Module]] = {
        "floor": partial(floor, what, {split: whole(parts) for split, parts in kept.items()}),
        "naive loop": partial(naive, what, images),  # type: ignore[arg-type]
        ANEW: partial(head, what),
        FIRST: partial(head, what),
        KEPT: partial(head, what),
        ONE: partial(head, one_rate(what)),
    }
    timed = in_turn(work, rounds, before=forget)
    task, patch = what.resolved.task, what.encoder.patch
    scores = {name: looks.evaluate(task, timed.found[name], patch, kept["val"]) for name in (ANEW, FIRST, KEPT, ONE)}
    found = rows_of(timed.seconds, "floor", ANEW, val=scores)
    show(found, title=task.name, note=lambda row: f"{task.headline} {row['val']:.4f}" if "val" in row else "")
    speed = ratio(timed.seconds, ANEW, KEPT)
    rates = ratio(timed.seconds, KEPT, ONE)
    same = equal(anew, kept)
    typer.echo(
        f"{task.name}: features anew take {speed.median:.1f} times as long as kept ones [{speed.low:.1f}, "
        f"{speed.high:.1f}]; {len(what.rule.recipe.rates)} rates {rates.median:.2f} times as long as one "
        f"[{rates.low:.2f}, {rates.high:.2f}]; features {'the same' if same else 'DIFFER'}\n"
    )
    return {"rows": found, "anew_over_kept": speed._asdict(), "rates_over_one": rates._asdict(), "same_features": same}


def main(
    encoder: Annotated[str, typer.Option(help="Encoder spec.")] = "embedded:dino",
    data: Annotated[str, typer.Option(help="A data set with labels, masks and depth.")] = "scenes(train=256, val=64)",
    task: Annotated[list[str] | None, typer.Option(help="Task spec; all three if none.")] = None,
    epochs: Annotated[int, typer.Option(help="How often each image is seen.")] = 20,
    rounds: Annotated[int, typer.Option(help="How often each is timed.")] = ROUNDS,
    path: Annotated[Path | None, typer.Option("--json", help="Where to write the figures too.")] = None,
) -> None:
    """Measure and print."""
    before = {name: os.environ.get(name) for name in ("BRITTLE_CACHE", LIMIT)}
    found: dict[str, object] = {}
    with TemporaryDirectory() as folder:
        try:
            os.environ["BRITTLE_CACHE"] = folder
            for each in task or TASKS:
                found[each] = measured(fit_of(encoder, data, each, epochs), rounds)
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                os.environ.update({name: value} if value is not None else {})
    tell(path, encoder=encoder, data=data, epochs=epochs, tasks=found)


if __name__ == "__main__":
    typer.run(main)
