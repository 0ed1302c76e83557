"""How good the fit of a head is: beside a fit of more steps, beside a tuned logistic regression, on features of other
scale, and how long it takes.

    python benchmarks/heads.py --encoder embedded:dino --train 716 --task classification

The head is fitted with the recipe of the standard protocol, and each comparison is with that fit, on the same features.
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
import typer
from torch import Tensor

import brittle
from brittle.evaluation import loading, looks, probe, protocol
from brittle.evaluation.sampler import Rows
from brittle.planning import identity
from brittle.types import Encoder, Features, Task

BATCH = 64


@torch.no_grad()
def rows(encoder: Encoder, data: str, split: str, task: Task) -> list[tuple[Features, Tensor]]:
    """Features in half precision, as they are kept, and targets."""
    samples, made = identity.dataset_of(data, split), []
    for start in range(0, len(samples), BATCH):
        some = [samples[place] for place in range(start, min(start + BATCH, len(samples)))]
        features = encoder(torch.stack([sample.image for sample in some]) / 255)
        assert task.target is not None
        target = torch.stack([sample.targets[task.target.name] for sample in some])
        made.append((Features(*(part.half() for part in features)), target))
    return made


def scaled(parts: Rows, by: float) -> list[tuple[Features, Tensor]]:
    return [(Features(*((by * part.float()).half() for part in features)), target) for features, target in parts]


def regression(train: Rows, val: Rows, test: Rows) -> float:
    """Accuracy of scikit-learn's logistic regression (LBFGS) on standardised features, C chosen on val."""
    from sklearn.linear_model import LogisticRegression

    warnings.filterwarnings("ignore", category=UserWarning)
    features = [torch.cat([each.pooled.float() for each, _ in part]) for part in (train, val, test)]
    mean, deviation = features[0].mean(0), features[0].std(0) + 1e-9
    x = [((part - mean) / deviation).numpy() for part in features]
    y = [torch.cat([target for _, target in part]).numpy() for part in (train, val, test)]
    fits = [LogisticRegression(C=10.0**power, max_iter=2000).fit(x[0], y[0]) for power in range(-4, 3)]
    return float(max(fits, key=lambda fit: fit.score(x[1], y[1])).score(x[2], y[2]))


def main(
    encoder: Annotated[str, typer.Option(help="Encoder spec.")] = "embedded:dino",
    task: Annotated[str, typer.Option(help="Task spec.")] = "classification",
    train: Annotated[int, typer.Option(help="Training images of scenes.")] = 716,
    data: Annotated[str, typer.Option(help="Other data than scenes: images of one size.")] = "",
    longer: Annotated[int, typer.Option(help="Of the longer fit, how many times the steps; 0 for none.")] = 10,
    highest: Annotated[float, typer.Option(help="Of the longer fit, the highest rate.")] = 1.0,
) -> None:
    """Fit, measure and print."""
    network, made = brittle.load_encoder(encoder), identity.task_of(task)
    data = data or f"scenes(train={train})"
    standard = protocol.standard(data, made, network.size).recipe
    rates = tuple(rate for rate in standard.rates if rate <= highest)
    if longer and not rates:
        raise typer.BadParameter(f"{highest:g} is below every rate; the lowest is {min(standard.rates):g}")
    splits = [rows(network, data, split, made) for split in ("train", "val", "test")]
    outputs = loading.classes_of(identity.dataset_of(data, "train"), made.target)

    def fit(name: str, parts: Sequence[Rows], recipe: probe.Recipe = standard) -> None:
        began = time.process_time()
        head = probe.fit(made, network.dim, network.patch, outputs, *parts[:2], recipe=recipe)
        spent = time.process_time() - began
        found = looks.evaluate(made, head, network.patch, parts[2])
        typer.echo(f"{name:34} {made.headline} {found:.4f}   {spent:7.1f} s of CPU   rate {float(head.rate):g}")

    count = sum(len(target) for _, target in splits[0])
    typer.echo(f"{encoder} / {data} / {task} / {count} training images")
    fit("standard", splits)
    for by in (0.03, 30.0):
        fit(f"features times {by:g}", [scaled(part, by) for part in splits])
    if made.name == "classification":
        typer.echo(f"{'logistic regression, C on val':34} {made.headline} {regression(*splits):.4f}")
    if longer:
        steps = longer * standard.total(count)
        fit(
            f"{longer} times the steps, no early stop",
            splits,
            replace(standard, steps=steps, epochs=0, many=0, patience=0, rates=rates),
        )


if __name__ == "__main__":
    typer.run(main)
