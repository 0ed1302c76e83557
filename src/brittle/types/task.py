"""Tasks: a head, a loss to climb and a per-image additive score."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from brittle.core.traits import Ability
from brittle.types.data import Batch
from brittle.types.encoder import FINAL, Encoder, Features, Look
from brittle.types.target import Target

if TYPE_CHECKING:
    from brittle.types.model import Model

SMALL = 64  # cells along an edge of a map that is enlarged by products


class Task(ABC):
    """A head, a loss to climb, and a per-image additive score, so that sharding is a sum, an interval what leaving out
    each row tells, and a worst case a choice of rows.

    ``target`` is the kind of target it reads, ``reads`` the parts of Features its head does, ``look`` which of the
    encoder's features those are, ``attack`` the paper's own
    attack on it, ``abilities`` what its predictions are, for attacks and objectives that need it; ``headline`` is the
    metric that stands for it, ``proportions`` names the metrics that are hits over trials (and so have Wilson
    intervals) with the two statistics they come from, ``shares`` the others that lie in [0, 1]. ``unlike`` says why the
    headline of clean and of attacked images are not to be compared, where they are not. ``head_sha256`` stands for the
    file that ``head`` reads its weights from; it is empty where heads are fitted. ``on_cells`` names the
    weights [outputs, columns, ...] of a fitted head whose columns, or the first of them, are the channels of the grid:
    they are fitted along the grid's principal axes, in fewer steps, those of an axis held back by its variance to a
    power, 0 where all axes count the same.
    """

    name: str
    target: Target | None
    attack: str
    headline: str
    higher_is_better: bool
    abilities: frozenset[Ability] = frozenset()
    proportions: Mapping[str, tuple[str, str]] = {}
    shares: Sequence[str] = ()
    reads: Sequence[str] = Features._fields
    look: Look = FINAL
    on_cells: Mapping[str, float] = {}
    unlike: str = ""
    head_sha256: str = ""

    @abstractmethod
    def head(self, dim: int, outputs: int) -> nn.Module:
        """(Features, (H, W)) -> prediction."""

    def look_on(self, encoder: Encoder) -> Look:
        """Which of an encoder's features the head reads; UsageError where it has none that fit."""
        return self.look

    def head_read(self, encoder: Encoder, outputs: int) -> nn.Module:
        """The head of the file that ``head_sha256`` stands for, on that encoder, with nothing left to fit; UsageError
        where the two, or the number of outputs, do not fit."""
        raise NotImplementedError(f"{self.name} reads no heads from files")

    @abstractmethod
    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Unreduced, [B] or one value a pixel with 0 where void."""

    def right(self, prediction: Tensor, target: Tensor) -> Tensor | None:
        """Booleans shaped as ``loss``: where the prediction is right (void never is); None where right and wrong have
        no meaning."""
        return None

    @abstractmethod
    def agreement(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """A loss for each pixel (or image, where a prediction is one an image), 0 where void, and how well the
        prediction agrees with the target there, 0 to 1."""

    @abstractmethod
    def score(self, prediction: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """Per-image statistics [B, ...], whose sums ``summarise`` reads."""

    @abstractmethod
    def damage(self, statistics: Mapping[str, Tensor]) -> Tensor:
        """[B] how bad each image's prediction is, from its statistics: 1 where all of it is wrong, or an error in
        metres; nan where there is nothing to score."""

    def worst(self, candidates: Mapping[str, Tensor]) -> Tensor:
        """[N] which of M candidates to take for each image, from their statistics [N, M, ...], for the worst headline
        of all: that of most damage, which is right where the headline is a mean over images."""
        return most_damaged(self, candidates)

    @abstractmethod
    def summarise(self, total: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics from the sums of ``score``'s statistics."""

    def alone(self, statistics: Mapping[str, Tensor]) -> Tensor:
        """[N] float64 the headline of each image by itself, from statistics [N, ...]; nan where it has none."""
        rows = [dict(zip(statistics, row)) for row in zip(*statistics.values())]
        return torch.tensor([self.summarise(row)[self.headline] for row in rows], dtype=torch.float64)

    def by_class(self, statistics: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """[C] hits and [C] trials whose ratio is how well each class does, from statistics [N, ...]; no trials where a
        class did not occur, None where there are no classes or the statistics are of a version that did not tell."""
        return None

    def valid(self, target: Tensor) -> Tensor:
        """Booleans [B,1,H,W]: where the target is scored. A task of metres must say so."""
        raise NotImplementedError(f"{self.name} does not say where its target is valid")

    def metres(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What a prediction says in metres, at the target's size, the truth, and where that is valid, [B,1,H,W] each;
        of a task of metres."""
        return resized(prediction, target.shape[-2:]), target, self.valid(target)

    def seen_from(self, unit: str, align: str) -> "Task":
        """The task for a network whose predictions are of another unit, see ``brittle.types.network``."""
        return self

    def target_of(self, model: "Model", batch: Batch, attacked: bool) -> Tensor:
        """The target of a batch of clean images, which are to be scored as they are or attacked: as the data set has
        it, where nothing of it depends on the model."""
        return batch.target


class Memory(nn.Module, ABC):
    """A head that holds what it was shown, in place of weights to be fitted."""

    @abstractmethod
    def memorise(self, rows: Iterable[tuple[Features, Tensor]]) -> None:
        """Hold the features and targets of batches of training images."""


class LabelFree(Task):
    """A task whose target no data set holds, since the model makes it of the images themselves: it fits every data set,
    and it is measured only where a plan names it."""

    target = None

    @abstractmethod
    def head_on(self, encoder: Encoder) -> nn.Module:
        """The head on that encoder, ready as it is: nothing is fitted where there is no target to fit it to."""

    @abstractmethod
    def target_of(self, model: "Model", batch: Batch, attacked: bool) -> Tensor: ...

    @abstractmethod
    def together(self, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The statistics of all images [N, ...], where some come from comparing images with each other."""


def most_damaged(task: Task, candidates: Mapping[str, Tensor]) -> Tensor:
    """[N] the candidate of most damage of each image, from statistics [N, M, ...]."""
    count = next(iter(candidates.values())).shape[1]
    each = [task.damage({key: value[:, i] for key, value in candidates.items()}) for i in range(count)]
    return torch.stack([damage.nan_to_num(-torch.inf) for damage in each], 1).argmax(1)


def resized(prediction: Tensor, size: Sequence[int]) -> Tensor:
    """[B,C,h,w] brought to ``size`` (H, W), bilinear; the same tensor where it has that size.

    A small map is enlarged by a product for each axis, in float32 at least: with its gradient two to four times as fast
    on a CPU as torch's own, and on a GPU the same sums in the same order each time.
    """
    edges, size = tuple(prediction.shape[-2:]), tuple(size)
    if edges == size:
        return prediction
    if max(edges) > SMALL or edges[0] > size[0] or edges[1] > size[1]:
        return nn.functional.interpolate(prediction, size=size, mode="bilinear", align_corners=False)
    with torch.autocast(prediction.device.type, enabled=False):
        maps = prediction.to(torch.promote_types(prediction.dtype, torch.float32))
        rows, columns = (_shares(edge, to, maps) for edge, to in zip(edges, size))
        return rows @ (maps.flatten(0, -2) @ columns.mT).unflatten(0, maps.shape[:-1])


def _shares(edge: int, to: int, like: Tensor) -> Tensor:
    """[to, edge] of how much of each cell is in each pixel, along one axis."""
    cells = torch.eye(edge, dtype=like.dtype, device=like.device)
    return nn.functional.interpolate(cells[None], size=to, mode="linear", align_corners=False)[0].mT


def agreement_of_classes(logits: Tensor, target: Tensor) -> Tensor:
    """[B, ...] cosine of softmax and one-hot, of logits [B, C, ...] and classes [B, ...] (CosPGD, Agnihotri et al.
    2023)."""
    share = logits.softmax(1)
    return share.gather(1, target[:, None])[:, 0] / share.norm(dim=1)


def per_image(loss: Tensor) -> Tensor:
    """[B] from an unreduced loss: the mean over whatever follows the batch axis."""
    return loss.flatten(1).mean(1) if loss.dim() > 1 else loss
