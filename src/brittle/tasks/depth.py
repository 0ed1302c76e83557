"""Monocular depth: a bins head on patch and pooled features, scale-invariant and gradient losses, RMSE in metres."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from brittle.tasks.parts import alignment, head_choice
from brittle.tasks.parts.depth_losses import SHIFT, both, compared
from brittle.types import DEPTH, Batch, Encoder, Features, Look, Model, Positive, Task, resized

BINS = 256
NAMES = {f"conv_depth.{name}": f"weigh.{name}" for name in ("weight", "bias")}
"""Of the weights of DINOv2's published heads to ours."""


class DepthHead(nn.Module):
    """Expected depth over uniform bins (AdaBins in its linear form: Bhat et al. 2021, DINOv2 2023).

    concat(patch, pooled), a 1x1 convolution to 256 bins, ReLU + 0.1, x4 bilinear, normalised, expectation; bilinear up
    to the image. Weights and weighted bins are summed before upsampling, 2 channels in place of 256: DINOv2
    upsamples first, which differs only where a weight changes sign between neighbouring patches, and costs a hundred
    times more. Output [B, 1, H, W] metres.
    """

    bins: Tensor

    def __init__(self, dim: int, low: float, high: float) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(2 * dim, BINS, 1)
        self.register_buffer("bins", torch.linspace(low, high, BINS).view(1, BINS, 1, 1), persistent=False)

    def forward(self, features: Features, size: Sequence[int]) -> Tensor:
        of_grid, of_pooled = self.weigh.weight.tensor_split([features.grid.shape[1]], 1)
        once = nn.functional.linear(features.pooled, of_pooled[..., 0, 0], self.weigh.bias)  # the same for all cells
        sums = self.sums(nn.functional.conv2d(features.grid, of_grid) + once[..., None, None])
        depth = sums[:, :1] / sums[:, 1:]
        return resized(depth, size)

    def sums(self, scores: Tensor) -> Tensor:
        """Sums of the weighted bins and of the weights [B, 2, 4 rows, 4 columns] of scores [B, 256, rows, columns]."""
        return _finer(self._summed(scores))

    def _summed(self, scores: Tensor) -> Tensor:
        with torch.autocast(scores.device.type, enabled=False):
            scores = scores.to(torch.promote_types(scores.dtype, torch.float32)).relu()
            bins = self.bins.flatten().to(scores)
            summed = torch.stack([bins, torch.ones_like(bins)])
            sums = summed @ scores.flatten(2) + 0.1 * summed.sum(1, keepdim=True)
        return sums.unflatten(2, scores.shape[2:])


class PublishedDepthHead(DepthHead):
    """The same, upsampled before the ReLU as DINOv2's published heads are."""

    def sums(self, scores: Tensor) -> Tensor:
        return self._summed(_finer(scores))


def _finer(maps: Tensor) -> Tensor:
    return resized(maps, [4 * edge for edge in maps.shape[-2:]])


class Depth(Task):
    """Target ``depth`` [B, 1, H, W] metres, valid where low < d <= high; prediction [B, 1, h, w] metres.

    Statistics per image: ``rmse``, ``absrel``, ``delta1`` over its valid pixels, ``images`` (0 where it has none), and
    the pooled sums ``squared`` and ``pixels``. ``rmse`` is the mean over images of each image's RMSE; ``rmse_pooled``
    is over all pixels at once.
    """

    name, target, attack = "depth", DEPTH, "depthpgd"
    headline, higher_is_better = "rmse", False
    abilities = frozenset({"metres", "per_pixel"})
    shares = ("delta1",)
    on_cells = {"weigh.weight": 0.25}  # its 256 bins soon fit the noise along small axes

    def __init__(self, low: float, high: float, head: str = "linear") -> None:
        self.low, self.high = low, high
        self._choice = head_choice.chosen(head, NAMES, "weigh.weight")
        self.head_sha256 = self._choice.sha256

    def look_on(self, encoder: Encoder) -> Look:
        layers = self._choice.layers_of(encoder, "weigh.weight", (2, 8))
        if layers > 1:
            return Look(tuple(head_choice.quarters(encoder.depth)), norm=False)
        return Look((-1,), norm=False) if self._choice.path else self.look

    def head(self, dim: int, outputs: int) -> nn.Module:
        return DepthHead(dim, self.low, self.high)

    def head_read(self, encoder: Encoder, outputs: int) -> nn.Module:
        layers = len(self.look_on(encoder).layers)
        made = PublishedDepthHead(layers * encoder.dim, self.low, self.high)
        self._choice.fill(made, "weigh.weight", BINS)
        # patch and pooled of one layer after the other there, of all layers here
        by_layer = made.weigh.weight.detach().unflatten(1, (layers, 2, encoder.dim))
        made.weigh.weight = nn.Parameter(by_layer.transpose(1, 2).flatten(1, 3))
        return made

    def valid(self, target: Tensor) -> Tensor:
        return (target > self.low) & (target <= self.high)  # false for nan and inf too

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """[B]: 1.0 SigLoss + 0.5 gradient loss of each image (Eigen et al. 2014; DINOv2 2023)."""
        return both(*self.metres(prediction, target))

    def agreement(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The absolute error in metres, and the smaller ratio of prediction and target, as in delta1, what is below 0
        metres as 0: a softmax over depth's one channel, CosPGD's own measure, would be 1 everywhere."""
        guess, truth = compared(*self.metres(prediction, target))
        ratio = (guess.clamp(min=0) + SHIFT) / (truth + SHIFT)
        return (guess - truth).abs(), torch.minimum(ratio, 1 / ratio)

    def score(self, prediction: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        prediction, target, valid = (each.flatten(1) for each in self.metres(prediction, target))
        truth = torch.where(valid, target.double(), 1.0)
        guess = torch.where(valid, prediction.double(), 1.0)
        pixels = valid.sum(1)
        share = 1 / pixels.clamp(min=1).double()
        squared = (guess - truth).square().sum(1)
        ratio = torch.maximum(guess / truth, truth / guess.clamp(min=1e-9))
        return {
            "rmse": (squared * share).sqrt(),
            "absrel": ((guess - truth).abs() / truth).sum(1) * share,
            "delta1": ((ratio < 1.25) & valid).sum(1) * share,
            "images": (pixels > 0).long(),
            "squared": squared,
            "pixels": pixels,
        }

    def damage(self, statistics: Mapping[str, Tensor]) -> Tensor:
        return torch.where(statistics["images"] > 0, statistics["rmse"], torch.nan)

    def summarise(self, total: Mapping[str, Tensor]) -> dict[str, float]:
        images = total["images"].double()
        means = {key: (total[key] / images).item() for key in ("rmse", "absrel", "delta1")}
        return {**means, "rmse_pooled": (total["squared"] / total["pixels"]).sqrt().item()}

    def alone(self, statistics: Mapping[str, Tensor]) -> Tensor:
        return self.damage(statistics)

    def seen_from(self, unit: str, align: str) -> "Depth":
        return self if unit == "metres" else AlignedDepth(self, inverse=unit == "inverse", median=align == "median")


class AlignedDepth(Depth):
    """Depth of a network that gives it up to a scale and a shift, or the inverse of that (MiDaS: Ranftl et al. 2020),
    brought to metres by the truth of each image.

    An image's scale and shift are those of its clean prediction, whatever it is attacked with, so that no attack is
    undone by them. ``rmse_again`` is the RMSE where they are found once more, from the prediction that is scored.

    Target [B,3,H,W]: depth in metres, and the scale and the shift everywhere.

    Args:
        depth: what is scored.
        inverse: whether predictions are of inverse depth.
        median: find the scale alone, by medians, in place of both by least squares.
    """

    def __init__(self, depth: Depth, *, inverse: bool, median: bool) -> None:
        super().__init__(depth.low, depth.high)
        self.inverse, self.median = inverse, median

    def seen_from(self, unit: str, align: str) -> Depth:
        return self

    def valid(self, target: Tensor) -> Tensor:
        return super().valid(target[:, :1])

    @torch.no_grad()
    def target_of(self, model: Model, batch: Batch, attacked: bool) -> Tensor:
        with model.using(bf16=False):
            prediction = model(batch.images).float()
        return self._aligned(prediction, batch.target)

    def _aligned(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """The target with the scale and the shift of a prediction."""
        seen = resized(prediction, truth.shape[-2:])
        sought = alignment.inverted(truth) if self.inverse else truth
        find = alignment.median if self.median else alignment.lstsq
        found = find(seen, sought, super().valid(truth))
        return torch.cat([truth, *(each.view(-1, 1, 1, 1).expand_as(truth).to(truth) for each in found)], 1)

    def metres(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        truth, scale, shift = target.split(1, 1)
        seen = scale * resized(prediction, truth.shape[-2:]) + shift
        # nothing lies beyond what is scored, and nothing behind the camera
        seen = 1 / seen.clamp(min=1 / self.high) if self.inverse else seen.clamp(max=self.high)
        return seen, truth, super().valid(truth)

    def score(self, prediction: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        again = super().score(prediction, self._aligned(prediction, target[:, :1]))
        return {**super().score(prediction, target), "again": again["rmse"]}

    def summarise(self, total: Mapping[str, Tensor]) -> dict[str, float]:
        return {**super().summarise(total), "rmse_again": (total["again"] / total["images"].double()).item()}


def depth(*, min_depth: Positive = 1e-3, max_depth: Positive = 10.0, head: str = "linear") -> Depth:
    """Depth in metres, valid in (min_depth, max_depth].

    Args:
        min_depth, max_depth: metres; what is outside is not scored.
        head: ``linear``, fitted on the encoder's output; ``ms``, fitted on four layers side by side, before the final
            norm; ``file:PATH``, DINOv2's published head on one layer or four, with nothing fitted. The bins of each go
            from min_depth to max_depth: 10 for those of NYU, 80 for those of KITTI.
    """
    return Depth(min_depth, max_depth, head)
