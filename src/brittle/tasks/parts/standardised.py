"""Features of mean 0 and deviation 1 for a head to be fitted on, whatever their scale."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from brittle.types import Features


class Standardised(nn.Module):
    """A head that was fitted on standardised features, for features as they are.

    Args:
        reads: the parts of Features that are standardised, each of width ``dim``; others are left alone.

    ``rate`` is the learning rate that it was fitted with, 0 where no other could have done better.
    """

    rate: Tensor

    def __init__(self, head: nn.Module, dim: int, reads: Sequence[str]) -> None:
        super().__init__()
        self.head, self.reads = head, tuple(reads)
        self.register_buffer("rate", torch.zeros((), dtype=torch.float64))
        for name in self.reads:
            self.register_buffer(f"{name}_mean", torch.zeros(dim))
            self.register_buffer(f"{name}_scale", torch.ones(dim))

    def standardise(self, features: Features) -> Features:
        """What ``head`` reads."""
        return features._replace(**{name: self._moved(name, getattr(features, name)) for name in self.reads})

    def _moved(self, name: str, part: Tensor) -> Tensor:
        shape = (-1, *(1 for _ in part.shape[2:]))
        mean, scale = (self.get_buffer(f"{name}_{what}").view(shape) for what in ("mean", "scale"))
        return (part - mean) * scale

    def forward(self, features: Features, size: Sequence[int]) -> Tensor:
        return self.head(self.standardise(features), size)

    @torch.no_grad()
    def measure(self, rows: Iterable[tuple[Features, Tensor]]) -> int:
        """Take mean and deviation from features; a channel that never changes is left out (its scale is 0). Returns the
        number of images."""
        sums, images = {name: torch.zeros(()) for name in self.reads}, 0
        for features, target in rows:
            images += len(target)
            for name in self.reads:
                values = getattr(features, name).double().transpose(0, 1).flatten(1)
                count = values.new_full(values.shape[:1], values.shape[1])
                sums[name] = sums[name] + torch.stack([count, values.sum(1), values.square().sum(1)])
        for name, (count, total, squares) in sums.items():
            mean = total / count
            deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
            still = deviation <= 1e-6 * mean.abs()
            self.get_buffer(f"{name}_mean").copy_(mean)
            self.get_buffer(f"{name}_scale").copy_(torch.where(still, 0.0, 1 / deviation))
        return images
