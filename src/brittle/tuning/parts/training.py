"""The one loop that updates weights: batches by step number, so that a resumed run equals a straight one bitwise
(Lightning Fabric)."""

import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from brittle.core import files
from brittle.core.errors import CellError, UsageError
from brittle.core.progress import progress
from brittle.types import Batch

Loss = Callable[[nn.Module, Batch, int], Tensor]
"""(module, batch, step) -> scalar to be minimised."""

SAVE_EVERY = 120.0  # seconds between checkpoints


@dataclass(frozen=True)
class Batches:
    """The batches of a training run.

    Args:
        draw: the batch of a step: the same for the same number, independent of earlier steps.
        classes: how many classes its targets have; 0 where they are no classes or there are none.
    """

    draw: Callable[[int], Batch]
    classes: int = 0

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        return self.draw(step)


def shuffled(count: int, batch_size: int, seed: int, step: int) -> Sequence[int]:
    """Indices of a step's batch: each epoch a new order of ``count`` images, incomplete last batches left out."""
    per_epoch = max(count // batch_size, 1)
    epoch, place = divmod(step, per_epoch)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
    return order[place * batch_size : (place + 1) * batch_size].tolist()


def train(
    module: nn.Module,
    loss: Loss,
    batches: Batches,
    *,
    steps: int,
    rate: float,
    warmup: int,
    decay: float,
    what: str,
    precision: str = "32-true",
    devices: int = 1,
    checkpoint: Path | None = None,
) -> nn.Module:
    """Train ``module`` in place with AdamW, linear warm-up, then cosine to zero; gradients clipped to length 1.

    Args:
        rate: peak learning rate, reached after ``warmup`` steps.
        decay: weight decay.
        precision: Fabric's name: ``32-true`` or ``bf16-mixed``.
        checkpoint: file to continue from and to write to every two minutes; the previous one stays until the new one is
            complete.

    Raises:
        CellError: the loss is not finite.
        UsageError: the module has no weights.
    """
    weights = [p for p in module.parameters() if p.requires_grad]
    if not weights:
        raise UsageError(f"{what}: the encoder has no weights to tune; take another")
    fabric = Fabric(accelerator="auto", devices=devices, precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    optimiser = torch.optim.AdamW(weights, lr=rate, weight_decay=decay)
    first = _resume(module, optimiser, checkpoint)
    wrapped, prepared = fabric.setup(module, optimiser)
    saved = time.monotonic()
    with progress(what, steps, "steps", done=first) as advance:
        for step in range(first, steps):
            for group in prepared.param_groups:
                group["lr"] = rate * learning_rate(step, steps, warmup)
            with (
                fabric.autocast()
            ):  # also for what the loss computes outside the wrapped module, such as an inner attack
                value = loss(wrapped, _placed(fabric, batches(step)), step)
            if not value.isfinite():
                raise CellError(f"the training loss is {value.item()} at step {step}; lower the learning rate")
            prepared.zero_grad()
            fabric.backward(value)
            fabric.clip_gradients(wrapped, prepared, max_norm=1.0)
            prepared.step()
            advance(1, f"loss {value.item():.4f}")
            if checkpoint and fabric.global_rank == 0 and time.monotonic() - saved > SAVE_EVERY:
                saved = time.monotonic()
                _save(module, optimiser, checkpoint, step + 1)
    return module


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """Share of the peak rate at a step: linear up to 1 over ``warmup`` steps, then cosine to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def _placed(fabric: Fabric, batch: Batch) -> Batch:
    return Batch(fabric.to_device(batch.images), fabric.to_device(batch.target), batch.ids)


def _save(module: nn.Module, optimiser: torch.optim.Optimizer, path: Path, step: int) -> None:
    stream = io.BytesIO()
    torch.save({"module": module.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, stream)
    files.write_sealed(path, stream.getvalue())


def _resume(module: nn.Module, optimiser: torch.optim.Optimizer, path: Path | None) -> int:
    """The step to continue from: 0 where there is no complete checkpoint."""
    data = files.read_sealed(path) if path else None
    if data is None:
        return 0
    state = torch.load(io.BytesIO(data), weights_only=True)
    module.load_state_dict(state["module"], strict=True)
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])
