"""Image classification: a linear head on the pooled feature, or its nearest neighbours; cross entropy, accuracy."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from brittle.tasks.parts import head_choice
from brittle.tasks.parts.knn import NearestNeighbours
from brittle.types import FINAL, LABEL, Encoder, Features, Look, Task, agreement_of_classes

NEAREST = "knn"
NAMES = {name: f"linear.{name}" for name in ("weight", "bias")}
"""Of the weights of DINOv2's published heads to ours."""


class LinearHead(nn.Module):
    """Features to logits [B, C]; the image size plays no part."""

    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, outputs)
        for parameter in self.linear.parameters():
            nn.init.zeros_(parameter)  # a convex problem needs no random start

    def forward(self, features: Features, _size: Sequence[int]) -> Tensor:
        return self.linear(features.pooled)


class PublishedLinearHead(nn.Module):
    """Features of some layers to logits [B, C], by the pooled features of all and the mean of the last one's grid, as
    DINOv2's published heads (Oquab et al. 2023)."""

    def __init__(self, dim: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.dim, self.linear = dim, nn.Linear((layers + 1) * dim, outputs)

    def forward(self, features: Features, _size: Sequence[int]) -> Tensor:
        return self.linear(torch.cat([features.pooled, features.grid[:, -self.dim :].mean((2, 3))], 1))


class Classification(Task):
    """Target ``label`` [B] int64, prediction logits [B, C]. Statistics: ``correct`` and ``images``, 1 or 0 each,
    and ``label``, the class, whose sum means nothing."""

    name, target, attack = "classification", LABEL, "pgd"
    headline, higher_is_better = "accuracy", True
    abilities = frozenset({"classes", "per_image"})
    proportions = {"accuracy": ("correct", "images")}

    def __init__(self, head: str = "linear") -> None:
        self._nearest = head == NEAREST
        self._choice = head_choice.chosen(head, NAMES, "linear.weight", [NEAREST])
        self.head_sha256 = self._choice.sha256
        self.reads = ("pooled", "grid") if self._choice.path else ("pooled",)

    def look_on(self, encoder: Encoder) -> Look:
        layers = self._choice.layers_of(encoder, "linear.weight", (2, 5))
        return FINAL if layers == 1 else Look(tuple(range(-layers, 0)))

    def head_read(self, encoder: Encoder, outputs: int) -> nn.Module:
        layers = max(len(self.look_on(encoder).layers), 1)
        made = PublishedLinearHead(encoder.dim, layers, outputs)
        self._choice.fill(made, "linear.weight", outputs)
        return made

    def head(self, dim: int, outputs: int) -> nn.Module:
        return NearestNeighbours(dim, outputs) if self._nearest else LinearHead(dim, outputs)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(prediction, target, reduction="none")

    def right(self, prediction: Tensor, target: Tensor) -> Tensor:
        return prediction.argmax(1) == target

    def agreement(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.loss(prediction, target), agreement_of_classes(prediction, target)

    def score(self, prediction: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        correct = self.right(prediction, target).long()
        return {"correct": correct, "images": torch.ones_like(correct), "label": target}

    def damage(self, statistics: Mapping[str, Tensor]) -> Tensor:
        return 1.0 - statistics["correct"].double()

    def summarise(self, total: Mapping[str, Tensor]) -> dict[str, float]:
        return {"accuracy": (total["correct"] / total["images"]).item()}

    def alone(self, statistics: Mapping[str, Tensor]) -> Tensor:
        return statistics["correct"].double()

    def by_class(self, statistics: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        if "label" not in statistics:  # samples of results of older versions have none
            return None
        label = statistics["label"]
        return label.bincount(statistics["correct"].double()), label.bincount().double()


def classification(*, head: str = "linear") -> Classification:
    """Top-1 classification.

    Args:
        head: ``linear``, fitted on the pooled feature; ``ms``, fitted on those of the last four layers side by side,
            after the final norm; ``knn``, the weighted vote of the 20 nearest training images (DINO: Caron et al.
            2021); ``file:PATH``, DINOv2's published head of ImageNet on one layer or four, with nothing fitted.
    """
    return Classification(head)
