"""Losses and errors of depth maps in metres, over the pixels that are valid."""

from collections.abc import Callable

import torch
from torch import Tensor

SHIFT = 1e-3  # added inside every logarithm, as DINOv2's losses do
STRIDES = (1, 2, 4, 6)  # of the gradient loss
WEIGHT = 0.5  # of the gradient loss beside SigLoss


def sigloss(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """[B]: sqrt(var(g) + 0.15 mean(g)^2) of g = log prediction - log target over ``valid`` pixels; 0 where there are
    none (Eigen et al. 2014; DINOv2 2023). All [B,1,H,W]."""
    return _spread(log_ratio(prediction, target, valid), valid)


def gradloss(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """[B]: absolute differences, two pixels apart, of the masked log ratio, over the number of ``valid`` pixels, summed
    over the strides 1, 2, 4 and 6 (DINOv2 2023). All [B,1,H,W]."""
    return _differences(log_ratio(prediction, target, valid), valid)


def both(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """[B]: ``sigloss`` + 0.5 ``gradloss``, of one log ratio."""
    ratio = log_ratio(prediction, target, valid)
    return _spread(ratio, valid) + WEIGHT * _differences(ratio, valid)


def _spread(ratio: Tensor, valid: Tensor) -> Tensor:
    gap, count = ratio.flatten(1), valid.flatten(1).sum(1)
    mean = gap.sum(1) / count.clamp(min=1)
    spread = ((gap - mean[:, None]).square() * valid.flatten(1)).sum(1) / (count - 1).clamp(min=1)
    return (spread + 0.15 * mean.square()).clamp(min=1e-12).sqrt() * (count > 0)


def _differences(ratio: Tensor, valid: Tensor) -> Tensor:
    total, mask = ratio.new_zeros(len(ratio)), valid.to(ratio.dtype)
    for stride in STRIDES:
        gap, v, counted = (maps[:, 0, ::stride, ::stride] for maps in (ratio, mask, valid))
        down = (gap[:, 2:] - gap[:, :-2]).abs() * (v[:, 2:] * v[:, :-2])
        across = (gap[..., 2:] - gap[..., :-2]).abs() * (v[..., 2:] * v[..., :-2])
        total = total + (down.sum((1, 2)) + across.sum((1, 2))) / counted.sum((1, 2)).clamp(min=1)
    return total


def mean_error(error: Callable[[Tensor, Tensor], Tensor], prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """[B]: the mean over ``valid`` pixels of an error of (prediction, target) [B,1,H,W]; 0 where there are none."""
    values = error(*compared(prediction, target, valid)) * valid
    return values.flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)


def compared(prediction: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Prediction and target where ``valid``; 1 elsewhere, so that no value there, nor its gradient, counts."""
    return torch.where(valid, prediction, 1.0), torch.where(valid, target, 1.0)


def logarithm(metres: Tensor) -> Tensor:
    """log(metres + SHIFT); below 0, which a user's own model may predict, the line that touches it at 0: finite, and
    steep, so that what is further off counts more there too."""
    below = metres < 0
    return (torch.where(below, 0.0, metres) + SHIFT).log() + torch.where(below, metres, 0.0) / SHIFT


def log_ratio(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """log prediction - log target where ``valid``, 0 elsewhere."""
    prediction, target = compared(prediction, target, valid)
    return torch.where(valid, logarithm(prediction) - logarithm(target), 0.0)
