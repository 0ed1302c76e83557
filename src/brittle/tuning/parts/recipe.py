"""How weights are updated, as one record: what every tuning method leaves open."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from pydantic import Field

from brittle.core.errors import UsageError
from brittle.core.settings import AtLeastOne, Count, NotNegative, Positive
from brittle.core.spec import text_of

Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How weights are updated.

    Args:
        epochs: how often each image is seen; 0 for so many ``steps`` instead.
        steps: updates of the weights.
        batch: images of a step, over all devices.
        accumulate: parts that a batch is worked through in, one after the other, where memory is short.
        optimiser: ``adamw`` and ``sgd`` of torch, ``lars`` of timm.
        lr: the peak learning rate.
        lr_batch: the images of a step that ``lr`` is for, so that it grows with ``batch``; 0 for any.
        momentum: of sgd and lars.
        decay: weight decay.
        warmup: share of the whole over which the rate rises in a line from ``warmup_from`` of its peak.
        schedule: what follows: ``cosine`` to zero, or ``constant``.
        rate_by: the rate changes with each ``step``, or with each ``epoch``.
        clip: the longest gradient; longer ones are cut to it; 0 for any.
        augment: ``crop``: padded with zeros by an eighth, cropped back, and flipped (as CIFAR is); ``resized``: 60 to
            100 % of the area at full size, and flipped; ``ssl``: 20 to 100 % of the area, flipped, colours jittered,
            some grey or blurred; ``none``.
        ema: what is written are weights averaged over the steps, of which each keeps so much of the mean before it; 0
            for the last ones.
        tuned: patterns of the names of the weights that are tuned, such as ``*blocks.0.*``; none for all.
        mode: that of the student's layers while weights are updated: ``eval``, or ``train``, in which batch norm takes
            each batch's own statistics and dropout drops; attacks see ``eval``.
        precision: ``32-true``, or the encoder in half precision: ``bf16-mixed``, ``16-mixed``.
        devices: GPUs, or processes on CPUs, that share each batch.
        workers: processes a device that read images ahead; 0 for none.
        save_every: a snapshot is written at the start and each so many epochs, or steps where ``epochs`` is 0; 0 for
            the end alone.
        probe_every: in the same unit, how often it is measured on the val split how well a classifier by nearest
            neighbours does, clean and attacked (``brittle.api.watch``); 0 for never.
        patience: such measurements without a better attacked one until the run stops; 0 to go on to the end.
        tensorboard: write a log for TensorBoard as well.
    """

    epochs: Count = 0
    steps: AtLeastOne = 1000
    batch: AtLeastOne = 64
    accumulate: AtLeastOne = 1
    optimiser: Literal["adamw", "sgd", "lars"] = "adamw"
    lr: Positive = 5e-4
    lr_batch: Count = 0
    momentum: Share = 0.9
    decay: NotNegative = 0.0
    warmup: Share = 0.05
    warmup_from: Share = 0.01
    schedule: Literal["cosine", "constant"] = "cosine"
    rate_by: Literal["step", "epoch"] = "step"
    clip: NotNegative = 1.0
    augment: Literal["none", "crop", "resized", "ssl"] = "none"
    ema: Share = 0.0
    tuned: tuple[str, ...] = ()
    mode: Literal["eval", "train"] = "eval"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    devices: AtLeastOne = 1
    workers: Count = 0
    save_every: Count = 0
    probe_every: Count = 0
    patience: Count = 0
    tensorboard: bool = False

    def per_epoch(self, count: int) -> int:
        """Steps of an epoch of ``count`` images; an incomplete last batch is left out."""
        return max(count // self.batch, 1)

    def total(self, count: int) -> int:
        """Steps in all."""
        return self.epochs * self.per_epoch(count) if self.epochs else self.steps

    def often(self, every: int, count: int) -> int:
        """How many times ``due`` is true over all steps, the start among them."""
        unit = self.per_epoch(count) if self.epochs else 1
        return self.total(count) // (every * unit) + 1 if every else 0

    def due(self, step: int, every: int, count: int) -> bool:
        """Whether ``every`` so many of epochs or steps ends with ``step`` steps done."""
        unit = self.per_epoch(count) if self.epochs else 1
        return every > 0 and step % (every * unit) == 0

    def rate(self, step: int, count: int) -> float:
        """The learning rate of a step, counted from 0."""
        unit = self.per_epoch(count) if self.rate_by == "epoch" else 1
        at, of = step // unit, max(self.total(count) // unit, 1)
        peak = self.lr * (self.batch / self.lr_batch if self.lr_batch else 1)
        warm = round(self.warmup * of)
        if at < warm:
            return peak * (self.warmup_from + (1 - self.warmup_from) * at / max(warm - 1, 1))
        if self.schedule == "constant":
            return peak
        return peak * (1 + math.cos(math.pi * (at - warm) / max(of - warm, 1))) / 2


ASIDE = ("workers", "save_every", "probe_every", "patience", "tensorboard")
"""Settings that leave the weights of a step as they are, so that a run may go on with others."""

NAMES = tuple(each.name for each in fields(Recipe))
"""The settings of a recipe."""


def recipe_of(settings: Mapping[str, Any]) -> Recipe:
    """The recipe of these settings, the others at their defaults.

    Raises:
        UsageError: a value that its annotation does not allow, or a batch that cannot be shared out.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        recipe = TypeAdapter(Recipe).validate_python(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise UsageError(f"{key}={text_of(settings[key])}: {first['msg'].lower()}") from None
    parts = recipe.devices * recipe.accumulate
    if recipe.batch % parts:
        raise UsageError(f"batch={recipe.batch} is not shared evenly by {parts} parts (devices x accumulate)")
    if recipe.patience and not recipe.probe_every:
        raise UsageError(f"patience={recipe.patience} counts probes; set probe_every too")
    return recipe
