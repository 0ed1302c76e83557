"""The one loop that updates weights: batches by step number, so that a resumed run equals a straight one bitwise
(Lightning Fabric)."""

import io
import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from brittle.core import files
from brittle.core.errors import CellError, UsageError
from brittle.core.progress import progress
from brittle.tuning.parts.method import Method
from brittle.tuning.parts.recipe import Recipe
from brittle.tuning.parts.source import Source, loader
from brittle.types import Batch
from brittle.types.rng import Rng, seed_of

SAVE_EVERY = 120.0  # seconds between checkpoints


class Watcher(Protocol):
    """Who is told how training goes, in the first process alone."""

    def step(self, step: int, loss: float, rate: float) -> None:
        """A step is done; ``step`` are."""
        ...

    def stop(self, step: int, method: Method) -> bool:
        """Asked after ``step`` steps, with the weights that would be written in the student: whether that is enough."""
        ...


def train(
    method: Method,
    source: Source,
    recipe: Recipe,
    watcher: Watcher,
    *,
    what: str,
    checkpoint: Path | None = None,
) -> bool:
    """Train ``method`` in place, its student's weights averaged at the end where the recipe says so.

    Args:
        what: the name of it, for progress.
        checkpoint: file to continue from and to write to every two minutes; the previous one stays until the new one is
            complete.

    Returns:
        Whether this process is the first of those that trained.

    Raises:
        CellError: the loss is not finite; the checkpoint before it stays.
        UsageError: there are no weights to tune.
    """
    tuned = _tuned(method, recipe.tuned)
    optimiser = _optimiser(tuned.values(), recipe)
    strategy: Any = DDPStrategy(find_unused_parameters=True) if recipe.devices > 1 else "auto"
    fabric = Fabric(accelerator="auto", devices=recipe.devices, strategy=strategy, precision=recipe.precision)
    fabric.launch()
    first = fabric.global_rank == 0
    run = _Run(method, optimiser, tuned, recipe, checkpoint)
    done = run.resume()
    wrapped, prepared = fabric.setup(method, optimiser)
    step_of = _Step(fabric, wrapped, prepared, run, source.seed)
    run.place()
    steps, count = recipe.total(len(source)), len(source)
    data = loader(source, recipe, range(done, steps), rank=fabric.global_rank, world=fabric.world_size)
    saved = time.monotonic()
    with progress(what, steps, "steps", done=done) as advance, run.kept(first):
        if first and not done:
            run.averaged(lambda: watcher.stop(0, method))
        for step, batch in enumerate(data, done):
            rate = recipe.rate(step, count)
            torch.manual_seed(seed_of(source.seed, f"step {step} of {fabric.global_rank}"))
            loss = step_of(batch, rate, step / steps)
            if not math.isfinite(loss):
                kept = f"; {checkpoint} is of an earlier step" if checkpoint and checkpoint.exists() else ""
                raise CellError(f"the training loss is {loss} at step {step}; lower lr{kept}")
            advance(1, f"loss {loss:.4f}, rate {rate:.1e}")
            if first:
                watcher.step(step + 1, loss, rate)
            enough = first and run.averaged(lambda: watcher.stop(step + 1, method))
            run.whole = True
            if recipe.patience and fabric.broadcast(enough):
                break
            if checkpoint and first and time.monotonic() - saved > SAVE_EVERY:
                saved = time.monotonic()
                run.save()
    run.finish()
    return first


def _tuned(method: Method, patterns: Sequence[str]) -> Mapping[str, nn.Parameter]:
    """The weights that are trained by name: the student's that match a pattern, and the method's own."""
    names = [name for name, _ in method.student.named_parameters()]
    chosen = {name for name in names if not patterns or any(fnmatch(name, each) for each in patterns)}
    if patterns and not chosen:
        raise UsageError(f"tuned={list(patterns)} fits no weights of the encoder; it has {', '.join(names[:4])}, ...")
    for name, weight in method.student.named_parameters():
        weight.requires_grad_(weight.requires_grad and name in chosen)
    tuned = {name: weight for name, weight in method.named_parameters() if weight.requires_grad}
    if not tuned:
        raise UsageError("the encoder has no weights to tune; take another")
    return tuned


def _optimiser(weights: Any, recipe: Recipe) -> torch.optim.Optimizer:
    settings: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.decay}
    match recipe.optimiser:
        case "adamw":
            return torch.optim.AdamW(weights, **settings)
        case "sgd":
            return torch.optim.SGD(weights, momentum=recipe.momentum, **settings)
        case "lars":
            from timm.optim.lars import Lars

            lars: Any = Lars
            return lars(weights, momentum=recipe.momentum, **settings)


class _Step:
    """One update of the weights."""

    def __init__(self, fabric: Fabric, method: Any, optimiser: Any, run: "_Run", seed: int) -> None:
        self.fabric, self.method, self.optimiser, self.run, self.seed = fabric, method, optimiser, run, seed

    def __call__(self, batch: Batch, rate: float, done: float) -> float:
        """The mean loss over the batches of all devices, before one step down its gradient at this rate."""
        fabric, recipe = self.fabric, self.run.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        rows, total = range(len(batch.images)), torch.zeros((), device=fabric.device)
        parts = [rows[start :: recipe.accumulate] for start in range(recipe.accumulate)]
        for number, part in enumerate(parts):
            some = batch.rows(part) if recipe.accumulate > 1 else batch
            placed = Batch(fabric.to_device(some.images), fabric.to_device(some.target), some.ids)
            with fabric.no_backward_sync(self.method, enabled=number < len(parts) - 1):
                loss = self.method(placed, Rng(self.seed, some.ids), done) * (len(part) / len(rows))
                fabric.backward(loss)
            total += loss.detach()
        if recipe.clip:
            fabric.clip_gradients(self.method, self.optimiser, max_norm=recipe.clip, error_if_nonfinite=False)
        with self.run.update():
            self.optimiser.step()
        return fabric.all_reduce(total, reduce_op="mean").item()  # type: ignore[union-attr]


class _Run:
    """What a run would have to know to go on: weights, their mean, the optimiser's state and the step."""

    def __init__(
        self,
        method: Method,
        optimiser: torch.optim.Optimizer,
        tuned: Mapping[str, nn.Parameter],
        recipe: Recipe,
        path: Path | None,
    ) -> None:
        self.method, self.optimiser, self.tuned, self.path, self.recipe = method, optimiser, tuned, path, recipe
        self.done, self.whole = 0, True
        self.mean = {name: weight.detach().clone() for name, weight in tuned.items()} if recipe.ema else {}
        method.student.train(recipe.mode == "train")

    def place(self) -> None:
        """Bring the mean to where the weights are now."""
        self.mean = {name: value.to(self.tuned[name]) for name, value in self.mean.items()}

    @contextmanager
    def update(self) -> Generator[None]:
        """Inside, the weights become those of the next step, and are taken into their mean."""
        self.whole = False
        yield
        for name, value in self.mean.items():
            value.lerp_(self.tuned[name].detach(), 1 - self.recipe.ema)
        self.done += 1  # whole again once what is due after this step is done too

    @contextmanager
    def kept(self, first: bool) -> Generator[None]:
        """Inside, a run that is stopped keeps the last whole step, if it is the ``first`` process."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            if first and self.path and self.whole:
                self.save()
            raise

    def averaged(self, ask: Callable[[], bool]) -> bool:
        """What is answered while the weights are their mean."""
        before = {name: weight.detach().clone() for name, weight in self.tuned.items()} if self.mean else {}
        self._put(self.mean)
        try:
            return ask()
        finally:
            self._put(before)

    def finish(self) -> None:
        """Leave the mean in the weights' place."""
        self._put(self.mean)
        self.method.eval()

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.tuned[name].copy_(value)

    def save(self) -> None:
        """Write it all."""
        assert self.path is not None
        if not all(weight.isfinite().all() for weight in self.tuned.values()):
            return  # the next loss says so, and the checkpoint before stays
        state = {"method": self.method.state_dict(), "optimiser": self.optimiser.state_dict(), "step": self.done}
        stream = io.BytesIO()
        torch.save({**state, "mean": self.mean}, stream)
        files.write_sealed(self.path, stream.getvalue())

    def resume(self) -> int:
        """The step to continue from: 0 where there is no complete checkpoint."""
        data = files.read_sealed(self.path) if self.path else None
        if data is None:
            return 0
        state = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        self.method.load_state_dict(state["method"], strict=True)
        self.optimiser.load_state_dict(state["optimiser"])
        self.mean, self.done = state["mean"], int(state["step"])
        return self.done
