"""The least that an attack can take, and the loop that most people write, for the benchmarks to set ours beside.

python benchmarks/attack.py    # one of those that do
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

import brittle
from brittle.planning import identity
from brittle.types import Batch, Model

EPS = 8 / 255
SHARE = 4  # of eps that a step moves: a fourth
Value = Callable[[Tensor], Tensor]
"""Images [B,3,H,W] to what is climbed, of any shape: its sum is."""


def floor(value: Value, clean: Tensor, steps: int, start: Tensor | None = None, eps: float = EPS) -> Tensor:
    """One forward and one backward to the pixels a step, and nothing else; weights are frozen by the caller.

    Args:
        clean: [B,3,H,W], around which the images stay.
        start: where to begin, [B,3,H,W]; the clean images if None.
        eps: how far from them, linf, in pixel units.

    Returns:
        The last images, [B,3,H,W].
    """
    images = (clean if start is None else start).clone()
    for _ in range(steps):
        images.requires_grad_()
        (gradient,) = torch.autograd.grad(value(images).sum(), images)
        images = _within(clean, images.detach() + eps / SHARE * gradient.sign(), eps)
    return images


def naive(
    module: nn.Module, value: Value, clean: Tensor, steps: int, start: Tensor | None = None, eps: float = EPS
) -> Tensor:
    """As most people write it: weights not frozen, backward into all of them. Arguments are those of ``floor``."""
    for weight in module.parameters():
        weight.requires_grad_(True)
    images = (clean if start is None else start).clone()
    for _ in range(steps):
        images.requires_grad_()
        value(images).sum().backward()
        assert images.grad is not None
        images = _within(clean, images.detach() + eps / SHARE * images.grad.sign(), eps)
    for weight in module.parameters():
        weight.requires_grad_(False)
        weight.grad = None
    return images


def _within(clean: Tensor, images: Tensor, eps: float) -> Tensor:
    return (clean + (images - clean).clamp(-eps, eps)).clamp(0, 1)


@torch.no_grad()
def looks(value: Value, images: Tensor, count: int) -> None:
    """So many forwards without a backward."""
    for _ in range(count):
        value(images)


def loss_of(model: Model, batch: Batch) -> Value:
    """The task's own loss of a model at a batch's target."""
    return lambda images: model.task.loss(model(images), batch.target)


def classifier(encoder: str, images: int, task: str = "classification", classes: int = 10) -> tuple[Model, Batch]:
    """A model with a random head, and a batch of random 8-bit images of the encoder's size which all have to be
    attacked: their targets are what the model says of them.

    Args:
        encoder: spec.
        task: spec of a task whose predictions are classes.
    """
    made, what = brittle.load_encoder(encoder), identity.task_of(task)
    torch.manual_seed(0)
    model = Model(what, what.head(made.dim, classes), made).eval()
    for weight in model.head.parameters():  # type: ignore[union-attr]
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.02)
    pictures = (torch.rand(images, 3, made.size, made.size) * 255).round() / 255
    with torch.no_grad():
        target = model(pictures).argmax(1)
    return model, Batch(pictures, target, [str(number) for number in range(images)])


def other(name: str) -> Any:
    """Another library, where it is installed; None, and a line that says so, where it is not."""
    try:
        return import_module(name)
    except ImportError:
        print(f"{name} is not installed here, so it is left out")
        return None
