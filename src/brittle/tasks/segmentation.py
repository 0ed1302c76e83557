"""Semantic segmentation: batch norm and a 1x1 convolution on the patch features, cross entropy, mean intersection over
union."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from brittle.core.traits import Traits
from brittle.tasks.parts import head_choice
from brittle.types import FINAL, MASK, Encoder, Features, Look, Task, agreement_of_classes, most_damaged, resized
from brittle.types.target import VOID

TRAITS = Traits(version=2)

ROUNDS = 1000  # of going over all images again
NAMES = {
    **{f"bn.{name}": f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var")},
    **{f"conv_seg.{name}": f"classify.{name}" for name in ("weight", "bias")},
}
"""Of the weights of DINOv2's published heads to ours."""


class SegmentationHead(nn.Module):
    """BatchNorm2d and a 1x1 convolution on the grid, bilinear up to the image: Features to logits [B, C, H, W] (the
    linear protocol of DINOv2, Oquab et al. 2023)."""

    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(dim)
        self.classify = nn.Conv2d(dim, outputs, 1)
        for parameter in self.classify.parameters():
            nn.init.zeros_(parameter)  # a convex problem needs no random start

    def forward(self, features: Features, size: Sequence[int]) -> Tensor:
        return resized(self._logits(features.grid), size)

    def _logits(self, grid: Tensor) -> Tensor:
        norm, classify = self.norm, self.classify
        if norm.training or norm.running_mean is None or norm.running_var is None:
            return classify(norm(grid))
        # a scale and a shift for each channel, which the convolution takes in: no second map as wide as the features
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = norm.bias - norm.running_mean * scale
        bias = nn.functional.linear(shift, classify.weight[..., 0, 0], classify.bias)
        return nn.functional.conv2d(grid, classify.weight * scale[:, None, None], bias)


class Segmentation(Task):
    """Target ``mask`` [B, H, W] int64 with ``VOID``, prediction logits [B, C, h, w], scored at the target's resolution.

    Statistics per image, over pixels that are not void: ``intersection``, ``predicted``, ``actual``, each [B, C];
    ``miou_images``, its own mIoU; ``images``, 0 where all is void. mIoU leaves out classes absent from prediction and
    target; mean accuracy (``macc``) is recall; ``aacc`` is the share of right pixels. ``miou`` is of the pixels of all
    images, where small objects hardly count; ``miou_images`` is the mean of each image's own (Halmosi, Mohos and
    Jelasity, arXiv 2407.09150, 2024).
    """

    name, target, attack = "segmentation", MASK, "segpgd"
    headline, higher_is_better = "miou", True
    abilities = frozenset({"classes", "per_pixel"})
    shares = ("miou", "miou_images", "macc", "aacc")
    reads = ("grid",)
    on_cells = {"classify.weight": 0.0}

    def __init__(self, head: str = "linear") -> None:
        self._choice = head_choice.chosen(head, NAMES, "classify.weight")
        self.head_sha256 = self._choice.sha256

    def look_on(self, encoder: Encoder) -> Look:
        layers = self._choice.layers_of(encoder, "classify.weight", (1, 4))
        return FINAL if layers == 1 else Look(tuple(range(-layers, 0)))

    def head(self, dim: int, outputs: int) -> nn.Module:
        return SegmentationHead(dim, outputs)

    def head_read(self, encoder: Encoder, outputs: int) -> nn.Module:
        made = self.head(self.look_on(encoder).width(encoder.dim), outputs)
        self._choice.fill(made, "classify.weight", outputs)
        return made

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        prediction = resized(prediction, target.shape[-2:])
        return nn.functional.cross_entropy(prediction, target, ignore_index=VOID, reduction="none")

    def right(self, prediction: Tensor, target: Tensor) -> Tensor:
        return resized(prediction, target.shape[-2:]).max(1).indices == target  # argmax, faster on a CPU

    def agreement(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        prediction = resized(prediction, target.shape[-2:])
        return self.loss(prediction, target), agreement_of_classes(prediction, torch.where(target == VOID, 0, target))

    def score(self, prediction: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        count = prediction.shape[1]
        guess = resized(prediction, target.shape[-2:]).max(1).indices.flatten(1)  # argmax, ten times as fast on a CPU
        target = target.flatten(1)
        valid = target != VOID
        places = (guess.where(valid & (guess == target), count), guess.where(valid, count), target.where(valid, count))
        intersection, predicted, actual = (_histogram(each, count) for each in places)
        return {
            "intersection": intersection,
            "predicted": predicted,
            "actual": actual,
            "miou_images": _miou(*(counts.double() for counts in (intersection, predicted, actual))).nan_to_num(0.0),
            "images": valid.any(1).long(),
        }

    def damage(self, statistics: Mapping[str, Tensor]) -> Tensor:
        return 1 - statistics["intersection"].sum(1).double() / statistics["actual"].sum(1)  # 0 / 0 where all is void

    def worst(self, candidates: Mapping[str, Tensor]) -> Tensor:
        """Greedy (SEA: Croce, Singh and Hein 2024): from the lowest pixel accuracy of each image, one image after the
        other takes the candidate with which the mIoU of all is lowest, until none changes."""
        names = ("intersection", "predicted", "actual")
        parts = [candidates[name].double() for name in names]
        pick, images = most_damaged(self, candidates), torch.arange(len(parts[0]))
        total = [part[images, pick].sum(0) for part in parts]
        for _ in range(ROUNDS):
            before = pick.clone()
            for i in images.tolist():
                tried = [whole - part[i, pick[i]] + part[i] for whole, part in zip(total, parts)]  # [M, C]
                scores = _miou(*tried)
                best = int(scores.argmin())
                if scores[best] < scores[pick[i]]:
                    total, pick[i] = [part[best] for part in tried], best
            if torch.equal(pick, before):
                break
        return pick

    def summarise(self, total: Mapping[str, Tensor]) -> dict[str, float]:
        intersection, predicted, actual = (total[key].double() for key in ("intersection", "predicted", "actual"))
        return {
            "miou": _miou(intersection, predicted, actual).item(),
            # samples of results of older versions have none
            **({"miou_images": (total["miou_images"] / total["images"]).item()} if "miou_images" in total else {}),
            "macc": (intersection / actual)[actual > 0].mean().item(),
            "aacc": (intersection.sum() / actual.sum()).item(),
        }

    def alone(self, statistics: Mapping[str, Tensor]) -> Tensor:
        return _miou(*(statistics[name].double() for name in ("intersection", "predicted", "actual")))

    def by_class(self, statistics: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        names = ("intersection", "predicted", "actual")
        intersection, predicted, actual = (statistics[name].sum(0).double() for name in names)
        return intersection, predicted + actual - intersection


def segmentation(*, head: str = "linear") -> Segmentation:
    """Semantic segmentation.

    Args:
        head: ``linear``, fitted on the encoder's output; ``ms``, fitted on the last four layers side by side, after the
            final norm; ``file:PATH``, either of them as DINOv2's authors publish it, with nothing fitted.
    """
    return Segmentation(head)


def _miou(intersection: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
    """[...] from counts [..., C], classes without a pixel in prediction and target left out."""
    union = predicted + actual - intersection
    return (intersection / union).nan_to_num(0.0).sum(-1) / (union > 0).sum(-1)


def _histogram(values: Tensor, count: int) -> Tensor:
    """[B, count] how often each class occurs in ``values`` [B, N]; ``count`` itself is not counted."""
    offsets = torch.arange(len(values), device=values.device)[:, None] * (count + 1)
    flat = (values + offsets).flatten()
    return torch.bincount(flat, minlength=len(values) * (count + 1)).view(-1, count + 1)[:, :count]
