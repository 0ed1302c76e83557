"""95 % intervals: Wilson's for a proportion, the bootstrap over images for everything else."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from brittle.types import Task

Z = 1.959964  # two-sided 95 %
RESAMPLES = 1000


def wilson(hits: float, trials: float) -> tuple[float, float]:
    """Wilson's score interval (1927) of hits / trials."""
    if trials == 0:
        return 0.0, 1.0
    share, slack = hits / trials, Z * Z / trials
    centre = (share + slack / 2) / (1 + slack)
    half = Z * math.sqrt(share * (1 - share) / trials + slack / (4 * trials)) / (1 + slack)
    return max(0.0, centre - half), min(1.0, centre + half)


def intervals(task: Task, samples: Mapping[str, Tensor], seed: int = 0) -> dict[str, tuple[float, float]]:
    """Interval of every metric of per-image statistics [N, ...]; percentile bootstrap (Efron 1979) where no proportion."""
    total = {key: value.sum(0) for key, value in samples.items()}
    metrics = task.summarise(total)
    found = {name: wilson(total[hits].item(), total[trials].item()) for name, (hits, trials) in task.proportions.items()}
    rest = [name for name in metrics if name not in found]
    if not rest:
        return found
    count = len(next(iter(samples.values())))
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(count, (RESAMPLES, count), generator=generator)
    weights = torch.zeros(RESAMPLES, count, dtype=torch.float64).scatter_add_(1, drawn, torch.ones(RESAMPLES, count, dtype=torch.float64))
    sums = {key: (weights @ value.double().flatten(1 if value.dim() > 1 else 0).reshape(count, -1)) for key, value in samples.items()}
    shaped = {key: value.view(RESAMPLES, *samples[key].shape[1:]) for key, value in sums.items()}
    rows = [task.summarise({key: value[i] for key, value in shaped.items()}) for i in range(RESAMPLES)]
    for name in rest:
        values = torch.tensor([row[name] for row in rows], dtype=torch.float64)
        values = values[values.isfinite()]
        if len(values):
            low, high = torch.quantile(values, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
            found[name] = (low, high)
    return found
