"""Weights that give every class of an image the same say, however many of its pixels there are."""

import torch
from torch import Tensor


def balance(target: Tensor) -> Tensor:
    """[B,H,W]: one over the share that each pixel's class has of its image, over the number of classes there (SEA:
    Croce, Singh and Hein 2024)."""
    weight = torch.zeros_like(target, dtype=torch.float32)
    for weights, image in zip(weight, target):
        classes, place, counts = image.unique(return_inverse=True, return_counts=True)
        weights += (image.numel() / (counts * len(classes)))[place]
    return weight
