"""What the paper's released code (arXiv 2407.12588, 2024) does to the models that it attacks and scores otherwise than
its text, each quirk by itself; ``brittle.planning.protocols.QUIRKS`` says what they are."""

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from brittle.core import files
from brittle.core.records import Cell
from brittle.evaluation.protocol import Protocol
from brittle.tasks.parts.depth_losses import STRIDES, WEIGHT, gradloss, log_ratio, sigloss
from brittle.types import Batch, Encoder, Features, Model, Task, resized, windows
from brittle.types.target import VOID

Change = Callable[[Tensor], Tensor]


class Before(Encoder):
    """An encoder whose images go through ``change`` first.

    Args:
        std: the deviation that it then normalises by, 3 values.
        patch: edge of a cell of its grid in the images as they come.
    """

    def __init__(self, encoder: Encoder, change: Change, std: Tensor, patch: int) -> None:
        mean = encoder.mean.flatten().tolist()
        super().__init__(
            encoder.dim, patch, size=encoder.size, mean=mean, std=std.flatten().tolist(), about=encoder.about
        )
        self.encoder, self.change = encoder, change
        self.to(encoder.mean.device)

    def forward(self, images: Tensor) -> Features:
        return self.encoder(self.change(images))

    @property
    def depth(self) -> int:
        return self.encoder.depth

    def at_layers(self, images: Tensor, indices: Sequence[int], *, norm: bool = False) -> list[Features]:
        return self.encoder.at_layers(self.change(images), indices, norm=norm)


def encoder_of(encoder: Encoder, rule: Protocol) -> Encoder:
    """The encoder as a protocol has it: with its own deviation of red, and images padded."""
    if rule.red != 1:
        mean, factors = encoder.mean, encoder.mean.new_tensor([rule.red, 1, 1]).view(1, 3, 1, 1)
        encoder = Before(encoder, lambda x: mean + (x - mean) / factors, encoder.std * factors, encoder.patch)
    if rule.pad:
        # a map that covers more than the image is brought to it whole, not cut: it is made a little smaller
        patch = encoder.patch if rule.pad % encoder.patch else encoder.patch - 1
        encoder = Before(encoder, partial(_padded, encoder, rule.pad), encoder.std, patch)
    return encoder


def _padded(encoder: Encoder, edge: int, images: Tensor) -> Tensor:
    """Images padded with the mean colour, half on each side, to multiples of ``edge``, and cut at the right and the
    bottom to whole patches."""
    rows, columns = images.shape[-2:]
    top, left = (-rows % edge) // 2, (-columns % edge) // 2
    seen = encoder.mean.repeat(len(images), 1, rows + -rows % edge, columns + -columns % edge)
    seen[..., top : top + rows, left : left + columns] = images
    height, width = (length // encoder.patch * encoder.patch for length in seen.shape[-2:])
    return seen[..., :height, :width]


class _Changed(Model):
    """A model whose prediction goes through ``changes``; with ``shares`` the softmax of its windows is averaged."""

    def __init__(self, model: Model, task: Task, changes: Collection[Change] = (), shares: bool = False) -> None:
        super().__init__(
            task,
            model.head,
            model.encoder,
            window=model.window,
            stride=model.stride,
            look=model.look,
            reads=model.reads,
        )
        self.changes, self.shares = changes, shares

    def forward(self, images: Tensor) -> Tensor:
        if self.shares and self.windowed(images):
            opaque = self.encoder is not None and self.encoder.opaque
            of_window = windows.mean_map(
                lambda part: self._whole(part).softmax(1), images, self.window, self.stride, opaque=opaque
            )
            prediction = of_window.clamp(min=torch.finfo(of_window.dtype).tiny).log()
        else:
            prediction = super().forward(images)
        for change in self.changes:
            prediction = change(prediction)
        return prediction


def attacked(model: Model, quirks: Collection[str], rule: Protocol) -> Model:
    """The model as attacks see it."""
    masks, depth = _kind(model.task)
    changes: list[Change] = []
    losses: dict[str, Any] = {}
    if not masks and not depth and "divided_logits" in quirks and "classes" in model.task.abilities:
        changes.append(lambda logits: logits / logits.detach().amax(1, keepdim=True).clamp(min=1))
    if masks and "double_softmax" in quirks:
        changes.append(lambda logits: logits.softmax(1))
    if masks and not {"groups_apart", "background_ignored"}.isdisjoint(quirks):
        ignored = rule.background if "background_ignored" in quirks else None
        losses["loss"] = _mask_loss(model.task, ignored, "groups_apart" in quirks)
    if depth and not {"sigloss_warmup", "gradient_rows"}.isdisjoint(quirks):
        losses["loss"] = _depth_loss(model.task, "sigloss_warmup" in quirks, "gradient_rows" in quirks)
    shares = masks and "softmax_windows" in quirks
    if not (changes or losses or shares):
        return model
    return _Changed(model, altered(model.task, losses), changes, shares).eval()


def scored(model: Model, quirks: Collection[str], rule: Protocol, sees: str) -> Model:
    """The model as it is scored.

    Args:
        sees: what of it the attack followed; empty for clean images.
    """
    masks, depth = _kind(model.task)
    methods: dict[str, Any] = {}
    if masks and rule.background is not None:
        methods |= _foreground(model.task, rule.background)
    if masks and "precision_as_accuracy" in quirks:
        methods["summarise"] = _with_precision(methods.get("summarise", model.task.summarise))
    if depth and sees and "depth_unmasked" in quirks:
        methods["score"] = _unmasked(model.task)
    shares = masks and "softmax_windows" in quirks
    twin = _Changed(model, altered(model.task, methods), shares=shares).eval() if methods or shares else model
    if (masks or depth) and sees == "head" and "unnormalised_dense" in quirks:
        assert model.encoder is not None
        twin = twin if twin is not model else _Changed(model, model.task).eval()
        twin.encoder = _plain(model.encoder)
    return twin


def turned(batches: Iterable[Batch], cell: Cell, task: Task, quirks: Collection[str]) -> Iterable[Batch]:
    """A cell's batches, mirrored at random where that is asked for."""
    if "random_flips" not in quirks or "metres" not in task.abilities:
        return batches
    return (mirrored(batch, f"{cell.seed} {cell.attack}") for batch in batches)


def mirrored(batch: Batch, salt: str) -> Batch:
    """A batch of which about half of the images, drawn by their ids and ``salt``, are mirrored with their targets."""
    drawn = [int(files.sha256(f"mirrored {salt} {name}")[:8], 16) % 2 for name in batch.ids]
    turned = torch.tensor(drawn, dtype=torch.bool, device=batch.images.device).view(-1, 1, 1, 1)
    images, target = (torch.where(turned, each.flip(-1), each) for each in (batch.images, batch.target))
    return batch._replace(images=images, target=target)


def altered(task: Task, methods: Mapping[str, Any]) -> Task:
    """A twin of a task with some methods or attributes of its own."""
    twin = copy.copy(task)
    for name, value in methods.items():
        setattr(twin, name, value)
    return twin


def _kind(task: Task) -> tuple[bool, bool]:
    """Whether a task predicts classes for each pixel, and whether metres."""
    return {"classes", "per_pixel"} <= task.abilities, "metres" in task.abilities


def _plain(encoder: Encoder) -> Encoder:
    """An encoder without normalisation."""
    mean, std = encoder.mean, encoder.std
    return Before(encoder, lambda images: mean + std * images, std.new_ones(3), encoder.patch)


def _mask_loss(task: Task, ignored: int | None, apart: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """The task's loss, 0 where the class ``ignored`` is true; ``apart``: so that a mean over all pixels of the right
    ones alone, or of the wrong ones, is the mean over that group (0 of an empty one, which would be no number)."""

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        counted = target != VOID
        counted = counted if ignored is None else counted & (target != ignored)
        values = task.loss(prediction, target) * counted
        if not apart:
            return values
        right = task.right(prediction, target)
        assert right is not None
        groups = [group & counted for group in (right, ~right)]
        shares = [group / group.flatten(1).sum(1).clamp(min=1).view(-1, 1, 1) for group in groups]
        return values * (shares[0] + shares[1]) * target[0].numel()

    return loss


def _depth_loss(task: Task, warm: bool, rows: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """[B]: the task's loss with SigLoss as in its warm-up, and with the gradients of rows alone."""

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        seen, valid = resized(prediction, target.shape[-2:]), task.valid(target)
        first = _warm(seen, target, valid) if warm else sigloss(seen, target, valid)
        return first + WEIGHT * (_row_gradients(seen, target, valid) if rows else gradloss(seen, target, valid))

    return loss


def _warm(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """[B]: sqrt(0.15 mean(g)^2) of the log ratio g over valid pixels."""
    gap = log_ratio(prediction, target, valid).flatten(1)
    return 0.15**0.5 * (gap.sum(1) / valid.flatten(1).sum(1).clamp(min=1)).abs()


def _row_gradients(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """[B]: of a map [1,H,W] read as one of H x W, where the first axis has nothing to differ from: differences between
    every so many-th rows, of all columns."""
    total = prediction.new_zeros(len(prediction))
    for stride in STRIDES:
        p, t, v = (maps[..., ::stride, :] for maps in (prediction, target, valid))
        gap = log_ratio(p, t, v)
        down = (gap[..., 2:, :] - gap[..., :-2, :]).abs() * (v[..., 2:, :] & v[..., :-2, :])
        total = total + down.flatten(1).sum(1) / v.flatten(1).sum(1).clamp(min=1)
    return total


def _foreground(task: Task, background: int) -> dict[str, Any]:
    """Statistics and metrics without the pixels that are truly background, and beside them ``miou_all``, the usual
    one."""

    def score(prediction: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        kept = task.score(prediction, target.masked_fill(target == background, VOID))
        return {**kept, **{f"all_{key}": value for key, value in task.score(prediction, target).items()}}

    def summarise(total: Mapping[str, Tensor]) -> dict[str, float]:
        metrics = task.summarise(total)
        every = {key.removeprefix("all_"): value for key, value in total.items() if key.startswith("all_")}
        return {**metrics, f"{task.headline}_all": task.summarise(every)[task.headline]} if every else metrics

    return {"score": score, "summarise": summarise, "shares": (*task.shares, f"{task.headline}_all")}


def _with_precision(
    summarise: Callable[[Mapping[str, Tensor]], dict[str, float]],
) -> Callable[[Mapping[str, Tensor]], dict[str, float]]:
    def changed(total: Mapping[str, Tensor]) -> dict[str, float]:
        right, predicted = total["intersection"].double(), total["predicted"].double()
        return {**summarise(total), "macc": (right / predicted)[predicted > 0].mean().item()}

    return changed


def _unmasked(task: Task) -> Callable[[Tensor, Tensor], Mapping[str, Tensor]]:
    """The task's statistics, those of RMSE over all pixels: depth that is not known counts as 0 metres."""

    def score(prediction: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        gap = resized(prediction, target.shape[-2:]).double() - target.double().nan_to_num(0.0, 0.0, 0.0)
        squared = gap.square().flatten(1)
        pixels = torch.full_like(squared[:, 0], squared.shape[1]).long()
        every = {"rmse": squared.mean(1).sqrt(), "squared": squared.sum(1), "pixels": pixels}
        return {**task.score(prediction, target), **every, "images": torch.ones_like(pixels)}

    return score
