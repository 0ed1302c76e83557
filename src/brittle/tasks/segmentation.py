"""Semantic segmentation: batch norm and a 1x1 convolution on the patch features, cross entropy, mean intersection over union."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from brittle.types import Features, resized

VOID = 255


class SegmentationHead(nn.Module):
    """BatchNorm2d and a 1x1 convolution on the grid, bilinear up to the image: Features to logits [B, C, H, W] (the linear protocol of
    DINOv2, Oquab et al. 2023)."""

    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(dim)
        self.classify = nn.Conv2d(dim, outputs, 1)
        for parameter in self.classify.parameters():
            nn.init.zeros_(parameter)  # a convex problem needs no random start

    def forward(self, features: Features, size: Sequence[int]) -> Tensor:
        return resized(self.classify(self.norm(features.grid)), size)


class Segmentation:
    """Target ``mask`` [B, H, W] int64 with 255 void, prediction logits [B, C, h, w], scored at the target's resolution.

    Statistics per image, over pixels that are not void: ``intersection``, ``predicted``, ``actual``, each [B, C]. mIoU leaves out classes
    absent from prediction and target; mean accuracy (``macc``) is recall; ``aacc`` is the share of right pixels.
    """

    name, target, attack = "segmentation", "mask", "segpgd"
    headline, higher_is_better = "miou", True
    proportions: Mapping[str, tuple[str, str]] = {}
    shares: Sequence[str] = ("miou", "macc", "aacc")
    reads: Sequence[str] = ("grid",)

    def head(self, dim: int, outputs: int) -> nn.Module:
        return SegmentationHead(dim, outputs)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        prediction = resized(prediction, target.shape[-2:])
        return nn.functional.cross_entropy(prediction, target, ignore_index=VOID, reduction="none")

    def right(self, prediction: Tensor, target: Tensor) -> Tensor:
        return resized(prediction, target.shape[-2:]).argmax(1) == target

    def score(self, prediction: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        count = prediction.shape[1]
        guess = resized(prediction, target.shape[-2:]).argmax(1).flatten(1)
        target = target.flatten(1)
        valid = target != VOID
        return {
            "intersection": _histogram(guess, valid & (guess == target), count),
            "predicted": _histogram(guess, valid, count),
            "actual": _histogram(target, valid, count),
        }

    def summarise(self, total: Mapping[str, Tensor]) -> dict[str, float]:
        intersection, predicted, actual = (total[key].double() for key in ("intersection", "predicted", "actual"))
        union = predicted + actual - intersection
        return {
            "miou": (intersection / union)[union > 0].mean().item(),
            "macc": (intersection / actual)[actual > 0].mean().item(),
            "aacc": (intersection.sum() / actual.sum()).item(),
        }


def segmentation() -> Segmentation:
    """Semantic segmentation."""
    return Segmentation()


def _histogram(values: Tensor, counted: Tensor, count: int) -> Tensor:
    """[B, C] how often each class occurs in ``values`` [B, N] where ``counted``."""
    rows = torch.arange(len(values), device=values.device)[:, None] * count
    flat = (values + rows)[counted]
    return torch.bincount(flat, minlength=len(values) * count).view(len(values), count)
