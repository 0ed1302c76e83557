"""The nouns of the house: what an encoder returns, what a data set holds, what a task, a model, an objective and an attack are."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from brittle import windows
from brittle.errors import UsageError
from brittle.rng import Rng
from brittle.threat import Threat
from brittle.trace import Trace

Count = Annotated[int, Field(ge=0)]
"""A setting that counts something: a whole number, 0 or more."""
AtLeastOne = Annotated[int, Field(ge=1)]
"""A setting that counts something there must be one of."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A setting that is a finite number above 0."""
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A setting that is a finite number, 0 or more."""

Objective = Callable[[Tensor, float], Tensor]
"""``(images [B,3,H,W], progress in [0,1)) -> [B]``, differentiable; the attacker wants it high. Called twice it gives the same."""


class Features(NamedTuple):
    """What an encoder says of images: ``pooled`` [B, D] and ``grid`` [B, D, rows, cols]."""

    pooled: Tensor
    grid: Tensor


class Sample(NamedTuple):
    """One picture: ``image`` uint8 (0..255) or float32 (0..1), [3,H,W]; ``targets`` by kind: ``label`` int64 [], ``mask`` int64 [H,W]
    (255 is void), ``depth`` float32 [1,H,W] metres (0 is void)."""

    image: Tensor
    targets: Mapping[str, Tensor]


class Batch(NamedTuple):
    """``images`` [B,3,H,W] float32 in [0,1]; ``target`` of one kind (see Sample) with a leading B; ``ids``: B stable names; ``start``:
    where an attack may begin in place of a random point, [B,3,H,W], such as what it found with a smaller budget."""

    images: Tensor
    target: Tensor
    ids: Sequence[str]
    start: Tensor | None = None

    def rows(self, index: Sequence[int]) -> "Batch":
        """Some of the pictures."""
        place = torch.tensor(list(index), dtype=torch.long, device=self.images.device)
        start = self.start[place] if self.start is not None else None
        return Batch(self.images[place], self.target[place], [self.ids[i] for i in index], start)


class Encoder(nn.Module):
    """A vision encoder: images [B,3,H,W] in [0,1] to Features. It normalises inside, so nobody else has to.

    Args:
        dim: D, the width of both features.
        patch: edge in pixels of one cell of ``grid``.
        size: edge in pixels of the pictures it is used at.
        mean, std: the source's normalisation, 3 values each.
        about: what a result says of the weights: ``sha256``, ``licence``, ``parameters``, ``source``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int, patch: int, *, size: int, mean: Sequence[float], std: Sequence[float], about: Mapping[str, Any]) -> None:
        super().__init__()
        self.dim, self.patch, self.size, self.about = dim, patch, size, dict(about)
        self.projector: nn.Module | None = None  # what training put on top of ``pooled``, [B, D] to [B, P]; no part of Features
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def normalise(self, images: Tensor) -> Tensor:
        """[0,1] images to what the network was trained on."""
        return (images - self.mean) / self.std

    def forward(self, images: Tensor) -> Features:
        raise NotImplementedError

    def at_layer(self, images: Tensor, index: int) -> Features:
        """What block or stage ``index`` (as Python counts) makes of images, before any norm; the width is the layer's own. UsageError where
        there is none."""
        raise UsageError(f"{self.label} has no layers to speak of; leave layer out, or choose a timm, hf, open_clip or file encoder")

    def attention_at(self, images: Tensor, index: int) -> Tensor:
        """[B, heads, T, T] attention probabilities of layer ``index``, each row a token's. UsageError where not every token attends to
        every other."""
        raise UsageError(f"{self.label} has no attention to speak of; choose a vision transformer from timm, hf, open_clip or file")

    @property
    def label(self) -> str:
        """What to call it in an error."""
        return str(self.about.get("source") or type(self).__name__)


class Dataset(Protocol):
    """One split in a fixed order: ``ids[i]`` names sample i for ever; ``classes`` has an entry for each kind of target there is
    (class names for ``label`` and ``mask``, none for ``depth``); ``fingerprint`` changes whenever a pixel or a label may have.

    A data set may have ``glance(index, kind) -> ((H, W), target)`` as well, which does not decode the picture; the size of one with a label
    is not asked for and may be empty. Every target is looked at before anything is attacked, and this makes that quick."""

    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def classes(self) -> Mapping[str, Sequence[str]]: ...
    @property
    def licence(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...


class Task(Protocol):
    """A head, a loss to climb, and a per-image additive score, so that sharding is a sum, an interval what leaving out each row
    tells, and a worst case a choice of rows.

    ``target`` is the kind of target it reads, ``reads`` the parts of Features its head does, ``attack`` the paper's own attack on it,
    ``headline`` the metric that stands for it, and ``proportions`` names the metrics that are hits over trials (and so have Wilson
    intervals) with the two statistics they come from, ``shares`` the others that lie in [0, 1].
    """

    name: str
    target: str
    attack: str
    headline: str
    higher_is_better: bool
    proportions: Mapping[str, tuple[str, str]]
    shares: Sequence[str]
    reads: Sequence[str]

    def head(self, dim: int, outputs: int) -> nn.Module:
        """(Features, (H, W)) -> prediction."""
        ...

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Unreduced, [B] or one value a pixel with 0 where void."""
        ...

    def right(self, prediction: Tensor, target: Tensor) -> Tensor | None:
        """Booleans shaped as ``loss``: where the prediction is right (void never is); None where right and wrong have no meaning."""
        ...

    def agreement(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """A loss for each pixel (or image, where there are none to speak of), 0 where void, and how well the prediction agrees with the
        target there, 0 to 1."""
        ...

    def score(self, prediction: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """Per-image statistics [B, ...], whose sums ``summarise`` reads."""
        ...

    def damage(self, statistics: Mapping[str, Tensor]) -> Tensor:
        """[B] how bad each image's prediction is, from its statistics: 1 where all of it is wrong, or an error in metres; nan where there
        is nothing to score."""
        ...

    def worst(self, candidates: Mapping[str, Tensor]) -> Tensor:
        """[N] which of M candidates to take for each image, from their statistics [N, M, ...], for the worst headline of all."""
        ...

    def summarise(self, total: Mapping[str, Tensor]) -> dict[str, float]: ...


class Model(nn.Module):
    """What is attacked: images [B,3,H,W] in [0,1] to a prediction, for one task.

    Args:
        task: what the prediction means.
        head: (Features, (H, W)) -> prediction; or, without an encoder, any callable images -> prediction.
        encoder: the encoder below the head.
        window, stride: larger pictures are predicted in sliding windows of this edge, their maps averaged; 0 for never.

    ``bf16``, false at first, runs the encoder in bfloat16 (autocast; head, loss and images stay float32): about twice as fast and good
    enough for an attack's gradients, of which 99.7 % have the same sign. Scores are never taken from it. ``trace``, none at first, is
    filled by the attack for whoever put one there.
    """

    bf16: bool = False
    trace: Trace | None = None

    def __init__(
        self, task: Task, head: Callable[..., Tensor] | None, encoder: Encoder | None = None, *, window: int = 0, stride: int = 0
    ) -> None:
        super().__init__()
        self.task, self.head, self.encoder, self.window, self.stride = task, head, encoder, window, stride

    def windowed(self, images: Tensor) -> bool:
        """Whether these pictures are seen in windows."""
        return 0 < self.window < max(images.shape[-2:])

    def forward(self, images: Tensor) -> Tensor:
        if self.head is None:
            raise UsageError("this model is an encoder without a head; attack it with an embedding attack, or fit a head first")
        if self.encoder is None:
            return self.head(images)
        if self.windowed(images):
            return windows.mean_map(self._whole, images, self.window, self.stride)
        return self._whole(images)

    def _whole(self, images: Tensor) -> Tensor:
        assert self.head is not None
        assert self.encoder is not None
        return predict(self.head, self.encode(images), self.encoder.patch, images.shape[-2:])

    def encode(self, images: Tensor, layer: int | None = None) -> Features:
        """The encoder's features, in its own precision, or float32 of what it makes in bfloat16.

        Args:
            layer: those of an intermediate layer, as ``Encoder.at_layer`` counts them; None for the final ones.

        Raises:
            UsageError: the model has no encoder, or the encoder no such layer.
        """
        return Features(*self._seen(images, lambda encoder: encoder(images) if layer is None else encoder.at_layer(images, layer)))

    def attend(self, images: Tensor, layer: int) -> Tensor:
        """The encoder's attention probabilities, see ``Encoder.attention_at``; precision and errors as in ``encode``."""
        (found,) = self._seen(images, lambda encoder: (encoder.attention_at(images, layer),))
        return found

    def _seen(self, images: Tensor, look: Callable[[Encoder], Sequence[Tensor]]) -> Sequence[Tensor]:
        if self.encoder is None:
            raise UsageError("an embedding attack needs a model with an encoder, not a bare callable; pass an Encoder")
        if not self.bf16:
            return look(self.encoder)
        with torch.autocast(images.device.type, torch.bfloat16):
            found = look(self.encoder)
        return [part.float() for part in found]


def predict(head: Callable[..., Tensor], features: Features, patch: int, size: Sequence[int]) -> Tensor:
    """A head's prediction for pictures of ``size`` (H, W); dense ones are made for all the encoder saw, then cut to the picture, since an
    encoder may pad at the right and at the bottom."""
    rows, columns = features.grid.shape[-2:]
    prediction = head(features, (rows * patch, columns * patch))
    return prediction[..., : size[0], : size[1]] if prediction.dim() == 4 else prediction


def resized(prediction: Tensor, size: Sequence[int]) -> Tensor:
    """[B,C,h,w] brought to ``size`` (H, W), bilinear; the same tensor where it has that size."""
    if tuple(prediction.shape[-2:]) == tuple(size):
        return prediction
    return nn.functional.interpolate(prediction, size=tuple(size), mode="bilinear", align_corners=False)


def agreement_of_classes(logits: Tensor, target: Tensor) -> Tensor:
    """[B, ...] cosine of softmax and one-hot, of logits [B, C, ...] and classes [B, ...] (CosPGD, Agnihotri et al. 2023)."""
    share = logits.softmax(1)
    return share.gather(1, target[:, None])[:, 0] / share.norm(dim=1)


def most_damaged(task: Task, candidates: Mapping[str, Tensor]) -> Tensor:
    """[N] the candidate of most damage of each image, from statistics [N, M, ...]: the worst headline where it is a mean over images."""
    count = next(iter(candidates.values())).shape[1]
    each = [task.damage({key: value[:, i] for key, value in candidates.items()}).nan_to_num(-torch.inf) for i in range(count)]
    return torch.stack(each, 1).argmax(1)


def per_image(loss: Tensor) -> Tensor:
    """[B] from an unreduced loss: the mean over whatever follows the batch axis."""
    return loss.flatten(1).mean(1) if loss.dim() > 1 else loss


class Attack(Protocol):
    """Adversarial images [B,3,H,W] for a batch, inside the threat; keyword-only settings come from the plan."""

    def __call__(self, model: Model, batch: Batch, threat: Threat, rng: Rng, /) -> Tensor: ...


def as_float(image: Tensor) -> Tensor:
    """uint8 (0..255) or float pictures as float32 in [0, 1]."""
    return image.float() / 255 if image.dtype == torch.uint8 else image.float()


@contextmanager
def frozen(module: nn.Module) -> Generator[None]:
    """Evaluation mode and no parameter gradients inside; every flag as it was outside."""
    modes = [(m, m.training) for m in module.modules()]
    flags = [(p, p.requires_grad) for p in module.parameters()]
    module.eval().requires_grad_(False)
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode
        for p, flag in flags:
            p.requires_grad_(flag)
