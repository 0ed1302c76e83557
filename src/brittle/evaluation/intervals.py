"""95 % intervals: Wilson's for a proportion, the jackknife over images for everything else."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

Z = 1.959964  # two-sided 95 %
ROUNDING = 1e-9  # share of a value by which equal ones may differ


class Metrics(Protocol):
    """What makes metrics of summed statistics: a task, or part of one."""

    @property
    def proportions(self) -> Mapping[str, tuple[str, str]]: ...
    @property
    def shares(self) -> Sequence[str]: ...
    def summarise(self, total: Mapping[str, Tensor]) -> dict[str, float]: ...


def wilson(hits: float, trials: float) -> tuple[float, float]:
    """Wilson's score interval (1927) of hits / trials."""
    if trials == 0:
        return 0.0, 1.0
    share, slack = hits / trials, Z * Z / trials
    centre = (share + slack / 2) / (1 + slack)
    half = Z * math.sqrt(share * (1 - share) / trials + slack / (4 * trials)) / (1 + slack)
    return max(0.0, centre - half), min(1.0, centre + half)


def pseudovalues(task: Metrics, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What each image adds to every metric, [N] float64, for per-image statistics [N, ...] (Tukey 1958).

    n times the metric less n - 1 times the metric without that image: of a mean over images, the images' own values.
    Their mean is the metric without its bias of order 1/n, which is not small where classes are rare; their spread over
    images is that of the metric.
    """
    total = {key: value.sum(0) for key, value in samples.items()}
    whole = task.summarise(total)
    count = len(next(iter(samples.values())))
    rest = {key: (total[key] - value).unbind() for key, value in samples.items()}
    without = [task.summarise(dict(zip(rest, row))) for row in zip(*rest.values())]
    return {
        name: count * whole[name] - (count - 1) * torch.tensor([row[name] for row in without], dtype=torch.float64)
        for name in whole
    }


def standard_error(values: Tensor, scale: float = 0.0) -> float:
    """Of the mean of [N] values; nan for fewer than two, where one is no number, or where all are equal, such as of
    copies of one image: what has no spread says nothing of how much another draw would differ.

    Args:
        scale: the size of the numbers that the values are differences of, if they are: rounding is a share of that.
    """
    size = max(scale, values.abs().max().item()) if len(values) else 0.0
    spread = (values.max() - values.min()).item() if len(values) else 0.0
    return values.std().item() / math.sqrt(len(values)) if spread > ROUNDING * size else math.nan


def intervals(task: Metrics, samples: Mapping[str, Tensor]) -> dict[str, tuple[float, float]]:
    """Interval of every metric of per-image statistics [N, ...], for the value that ever more such images would give.

    The jackknife's stays in the metric's range and always holds the metric itself; one image alone gives
    none, nor do images that are all alike. A
    percentile bootstrap is no substitute: mIoU is off its mark where classes are rare, and the bootstrap is off twice
    as far. In simulated sets of 300 images of 60 classes, the rarest in 1 % of them, it held the true value 65 % of the
    time, and this 91 %.
    """
    metrics = task.summarise({key: value.sum(0) for key, value in samples.items()})
    ends = {
        name: wilson(samples[hits].sum().item(), samples[trials].sum().item())
        for name, (hits, trials) in task.proportions.items()
    }
    if metrics.keys() == ends.keys():
        return ends
    for name, values in pseudovalues(task, samples).items():
        error = standard_error(values)
        if name not in ends and math.isfinite(error):
            half = student(len(values) - 1) * error
            low, high = _around(metrics[name], values.mean().item() - metrics[name], half, name in task.shares)
            ends[name] = min(low, metrics[name]), max(high, metrics[name])
    return ends


def _around(value: float, shift: float, half: float, share: bool) -> tuple[float, float]:
    """value + shift -+ half; of a share along its log odds, where it cannot leave [0, 1] and errors are more nearly
    normal."""
    if not share:
        low, high = value + shift - half, value + shift + half
        return max(low, 0.0) if value >= 0 else low, high
    slope = value * (1 - value)
    if slope <= 0:
        return min(max(value - half, 0.0), 1.0), min(max(value + half, 0.0), 1.0)
    place = math.log(value / (1 - value)) + shift / slope
    return _share(place - half / slope), _share(place + half / slope)


def _share(log_odds: float) -> float:
    return (1 + math.tanh(log_odds / 2)) / 2


# Student's t by Wallace's normal approximation (1959): z = scale * sqrt(freedom * log(1 + t^2 / freedom)), within 2 %
# from 4 degrees on.


def student(freedom: int) -> float:
    """The t that a Student variable of so many degrees of freedom exceeds in size 5 % of the time."""
    return math.sqrt(freedom * math.expm1((Z / _scale(freedom)) ** 2 / freedom))


def two_sided(t: float, freedom: int) -> float:
    """How often a Student variable of so many degrees of freedom is larger than ``t`` in size."""
    z = _scale(freedom) * math.sqrt(freedom * math.log1p(t * t / freedom))
    return math.erfc(z / math.sqrt(2))


def _scale(freedom: int) -> float:
    return (8 * freedom + 1) / (8 * freedom + 3)
