"""What ``embedded:dino`` has to beat on scenes: the same network untrained, a linear probe on raw pixels, and the mean
depth map.

    python benchmarks/baselines.py

Prints a table of clean numbers over the test split, with 95 % intervals, and the RMSE of the per-pixel mean of the
training depth maps.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

import brittle
from brittle.core import components
from brittle.evaluation import intervals
from brittle.planning import identity


def mean_depth_map(data: str, limit: int | None) -> tuple[float, tuple[float, float]]:
    """RMSE, and its interval, of predicting for every test image the per-pixel mean depth of the train split."""
    train, test, task = (
        brittle.load_dataset(data, "train"),
        brittle.load_dataset(data, "test"),
        identity.task_of("depth"),
    )
    total = torch.zeros_like(train[0].targets["depth"], dtype=torch.float64)
    for index in range(len(train)):
        total += train[index].targets["depth"]
    mean = (total / len(train)).float()[None]
    rows = [task.score(mean, test[index].targets["depth"][None]) for index in range(min(limit or len(test), len(test)))]
    samples = {key: torch.cat([row[key] for row in rows]) for key in rows[0]}
    metrics = task.summarise({key: value.sum(0) for key, value in samples.items()})
    return metrics["rmse"], intervals.intervals(task, samples)["rmse"]


def main(
    data: Annotated[str, typer.Option(help="A data set with labels, masks and depth of one size.")] = "scenes",
    limit: Annotated[int | None, typer.Option(help="Use only the first test images.")] = None,
    output_dir: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/baselines"),
) -> None:
    """Measure and print."""
    shared = {"attacks": [], "limit": limit, "output_dir": output_dir}
    results = brittle.run(["embedded:dino", "embedded:random"], [data], **shared)
    results += brittle.run(["pixels"], [data], tasks=["classification"], **shared)
    print(components.component("reports", "table").function(results))
    rmse, (low, high) = mean_depth_map(data, limit)
    print(f"mean depth map: rmse {rmse:.3f} [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    typer.run(main)
