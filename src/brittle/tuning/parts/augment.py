"""Random views of an image for tuning, drawn from the image's own generator."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from brittle.types.rng import seed_of

PAD = 8  # a crop is out of the image with an edge of an eighth around it: 4 of CIFAR's 32 pixels
LEAST = {"resized": 0.6, "ssl": 0.2}  # share of the area


def augmented(image: Tensor, how: str, seed: int, name: str) -> Tensor:
    """A view of an image [3,S,S] in [0,1], of its shape.

    Args:
        how: ``Recipe.augment``.
        name: what the draw belongs to; the same seed and name always give the same view.
    """
    if how == "none":
        return image
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which asks every device too, and takes longer than the view itself
        torch.default_generator.manual_seed(seed_of(seed, f"view\0{name}"))
        return _transform(how, image.shape[-1])(image).clamp(0, 1)


def _transform(how: str, size: int) -> Callable[[Tensor], Tensor]:
    v2: Any = importlib.import_module("torchvision.transforms.v2")  # which has no types, and takes long to import
    flip = v2.RandomHorizontalFlip()
    if how == "crop":
        return v2.Compose([v2.RandomCrop(size, padding=max(size // PAD, 1)), flip])
    resized = v2.RandomResizedCrop(size, (LEAST[how], 1.0), interpolation=v2.InterpolationMode.BICUBIC, antialias=True)
    if how == "resized":
        return v2.Compose([resized, flip])
    # the colour jitter, grey and blur of SimCLR (Chen et al. 2020)
    jitter = v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8)
    blur = v2.RandomApply([v2.GaussianBlur(max(size // 10 | 1, 3), (0.1, 2.0))], 0.5)
    return v2.Compose([resized, flip, jitter, v2.RandomGrayscale(0.2), blur])
