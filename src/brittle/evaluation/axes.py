"""The principal axes of a grid's features, along which the weights of dense heads are fitted."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from brittle.core.errors import CellError
from brittle.tasks.parts.standardised import Standardised
from brittle.types import Features

CELLS = 16  # of each image's grid that are counted, evenly over it
WIDEST = 2048  # channels whose axes are found in 2.5 s; those of 12,288 pixels took over a quarter of an hour
LEAST = 1e-4  # of the variance of a standardised channel: axes along which features hardly change


class Axes:
    """The principal axes of a grid's standardised features, and weights along them in place of along channels.

    Channels of an encoder go together, and Adam scales the gradient of each weight by itself: along channels it creeps
    where only a small difference between some of them matters. Along the principal axes, where features do not go
    together, a fit comes as far in a fraction of the steps (as Adam on the axes of its gradients does for whole
    networks: SOAP, Vyas et al. 2024). Pooled features are left along channels: of those there are only as many as
    images, and along their axes a head soon knows the images by heart. So are grids of over ``WIDEST`` channels.

    Args:
        weights: which, and how far the small axes are held back, see ``Task.on_cells``; with none, nothing is turned.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = weights
        self._count = 0
        self._total = self._products = torch.zeros((), dtype=torch.float64)
        self._to_channels: dict[str, Tensor] = {}
        self._to_axes: dict[str, Tensor] = {}

    def watched(self, rows: Iterable[tuple[Features, Tensor]]) -> Iterator[tuple[Features, Tensor]]:
        """The same rows, whose features are counted as they go by."""
        for features, target in rows:
            if self.weights and features.grid.shape[1] <= WIDEST:
                cells = features.grid.flatten(2)
                some = torch.linspace(0, cells.shape[2] - 1, min(CELLS, cells.shape[2])).long()
                values = cells[..., some].double().transpose(0, 1).flatten(1)
                self._count += values.shape[1]
                self._total, self._products = self._total + values.sum(1), self._products + values @ values.T
            yield features, target

    def find(self, module: Standardised) -> None:
        """Take the axes of what was counted, standardised as ``module`` does.

        Raises:
            CellError: the task names a weight that its head lacks, or whose columns are not the channels.
        """
        if not self._count:
            return
        there = {name: tensor for name, tensor in module.head.named_parameters() if tensor.dim() > 1}
        for name in self.weights:
            if name not in there or there[name].shape[1] < len(self._total):
                known = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in there.items()) or "none"
                what = (
                    f"on_cells names {name!r}, no weight of the head over the {len(self._total)} channels of the grid"
                )
                raise CellError(f"{what}; there is {known}")
        mean, scale = self._total / self._count, module.get_buffer("grid_scale").double().cpu()
        spread = scale[:, None] * (self._products / self._count - mean[:, None] * mean) * scale
        spread = spread.nan_to_num(0.0, 0.0, 0.0)  # of features that no head can be fitted on, which is said later
        variance, axes = torch.linalg.eigh(spread)
        for name, power in self.weights.items():
            stretch = variance.clamp(min=LEAST) ** power
            self._to_channels[name] = (axes * stretch).T.float().to(module.rate.device)
            self._to_axes[name] = (axes / stretch).float().to(module.rate.device)

    def along_channels(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights [heads, outputs, columns, ...] as the head has them, of those along the axes."""
        return _turned(weights, self._to_channels)

    def along_axes(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse."""
        return _turned(weights, self._to_axes)


def _turned(weights: Mapping[str, Tensor], by: Mapping[str, Tensor]) -> dict[str, Tensor]:
    turned = dict(weights)
    for name, turn in by.items():
        on_cells, others = weights[name].flatten(2).tensor_split([len(turn)], 2)
        turned[name] = torch.cat([on_cells @ turn, others], 2).view_as(weights[name])
    return turned
