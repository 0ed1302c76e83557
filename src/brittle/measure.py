"""One Cell in, one Result out: the head, the attack, the verdict on what the attack returned, and the score."""

import io
import math
import platform
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from brittle import artifacts, plan, protocol, spec
from brittle.errors import BrittleError, CellError, UsageError
from brittle.intervals import intervals
from brittle.plan import Cell, Result
from brittle.progress import progress
from brittle.rng import Rng
from brittle.threat import Threat
from brittle.types import Batch, Encoder, Model, Task, frozen

Made = TypeVar("Made")
Statistics = Mapping[str, Tensor]  # [B, ...] each, by name: what a task's score gives
TOLERANCE = 1e-6  # of a violation of the budget: rounding in float32, no more


@dataclass(frozen=True)
class Machine:
    """How to run: where, how many pictures at once (0 goes by their size) and how many readers, which change no number; and ``precision``,
    ``fp32`` or ``bf16``, in which attacks run the encoder, which may (it is part of an attacked cell's identity). Scores are float32."""

    device: str = "cpu"
    batch_size: int = 0
    workers: int = 0
    precision: str = "fp32"


@lru_cache(maxsize=1)
def encoder_of(text: str, device: str, weights: str) -> Encoder:
    """The encoder of a spec on a device; the last one is kept, as cells come grouped by encoder.

    Args:
        weights: what ``plan.weights_of`` says of it.

    Raises:
        UsageError: it was read from other weights than those hashed.
    """
    encoder: Encoder = spec.build("encoders", text)
    if encoder.about.get("fingerprint", weights) != weights:
        raise UsageError(f"{text}: its weights were changed after they were hashed ({weights[:12]}); leave them alone and run again")
    return encoder.to(device).eval()


@cache
def _looked_at(dataset: str, task: str, count: int) -> None:
    """Have every target of the pictures to be measured looked at, once in a process."""
    protocol.check(plan.dataset_of(dataset, "test"), count, plan.task_of(task))


def model_of(cell: Cell, machine: Machine) -> Model:
    """Encoder and fitted head of a cell, in evaluation mode."""
    encoder = encoder_of(cell.encoder, machine.device, plan.weights_of(cell.encoder))
    task: Task = plan.task_of(cell.task)
    rule = protocol.standard(cell.dataset, task, encoder.size)
    with frozen(encoder):
        head = artifacts.head(cell, encoder, task, rule, batch_size=machine.batch_size, workers=machine.workers, device=machine.device)
    return Model(task, head, encoder, window=rule.window, stride=rule.stride).eval()


def measure(cell: Cell, machine: Machine, checks: str = "fast") -> tuple[Result, bytes]:
    """The result of a cell and its per-image samples (an .npz file's bytes), with the findings of all checks unless ``checks`` is none.

    Raises:
        BrittleError: the cell cannot be measured; nothing is ever scored from images outside the threat or predictions that are no numbers.
    """
    began = time.monotonic()
    name = plan.identity(cell, machine.precision)  # before anything is read: whatever changes under way is then noticed
    dataset = plan.dataset_of(cell.dataset, "test")
    indices = range(min(cell.limit or len(dataset), len(dataset)))
    _looked_at(cell.dataset, cell.task, len(indices))
    model, task = model_of(cell, machine), plan.task_of(cell.task)
    threat = Threat(cell.norm or "linf", cell.eps or 0.0)  # type: ignore[arg-type]
    rows: list[Statistics] = []
    rounded: list[Statistics] = []
    violations: list[Tensor] = []
    ids: list[str] = []
    assert model.encoder is not None
    rule = protocol.standard(cell.dataset, task, model.encoder.size)
    batches = protocol.batches(dataset, indices, task, rule, machine.batch_size, workers=machine.workers, device=machine.device)
    with frozen(model), _counted(model.encoder) as count, progress(str(cell), len(indices)) as advance:
        for batch in batches:
            images = _halving(lambda part: _attacked(cell, model, part, threat, machine.precision), torch.cat, batch)
            worst = threat.violation(batch.images, images)
            if (worst > TOLERANCE).any():
                name = batch.ids[int(worst.argmax())]
                raise CellError(f"violation: {cell.attack} left the threat by {worst.max().item():.2e} on {name}; the attack is broken")
            rows.append(_scored(model, images, batch))
            rounded.append(_scored(model, threat.to_8bit(batch.images, images), batch) if cell.attack else rows[-1])
            violations.append(worst.cpu())
            ids += batch.ids
            advance(len(batch.images), f"{task.headline} {task.summarise(_total(rows))[task.headline]:.3f}")
    samples = _joined(rows)
    metrics = task.summarise(_total(rows))
    if not math.isfinite(metrics[task.headline]):
        raise CellError(f"no valid pixel or image to score for {task.name}; look at the data set's targets")
    result = Result(
        id=name,
        cell=cell,
        task={"name": task.name, "headline": task.headline, "higher_is_better": task.higher_is_better, "attack": task.attack},
        metrics=_finite(metrics),
        metrics_uint8=_finite(task.summarise(_total(rounded))),
        intervals=intervals(task, samples),
        images=len(ids),
        image_ids_sha256=artifacts.image_ids(ids),
        cost={"seconds": round(time.monotonic() - began, 3), **count, "peak_bytes": _peak(machine.device)},
        made_by=_made_by(cell, model.encoder, rule, machine),
    )
    arrays = {key: value.cpu().numpy() for key, value in samples.items()}
    if cell.attack:
        arrays["violation"] = torch.cat(violations).numpy()
        names = spec.names("checks") if checks != "none" else ()
        result = replace(result, findings=tuple(spec.component("checks", name)(result, arrays) for name in names))
    return result, _npz({**arrays, "ids": np.array(ids)})


def _halving(work: Callable[[Batch], Made], join: Callable[[list[Made]], Made], batch: Batch) -> Made:
    """What ``work`` makes of a batch, or, ``join``ed, of its halves, as often as memory asks; that changes no number since randomness
    belongs to each image.

    Raises:
        CellError: a single picture is too much.
    """
    try:
        return work(batch)
    except RuntimeError as error:
        memory = isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
        if not memory:
            raise
        if len(batch.images) == 1:
            raise CellError("out of memory with a single picture; use a smaller encoder, smaller pictures, or more memory") from None
    half = len(batch.images) // 2
    cuts = (slice(half), slice(half, None))
    parts = [Batch(batch.images[cut], batch.target[cut], batch.ids[cut]) for cut in cuts]
    return join([_halving(work, join, part) for part in parts])


def _attacked(cell: Cell, model: Model, batch: Batch, threat: Threat, precision: str) -> Tensor:
    """Adversarial images of a batch."""
    if cell.attack is None:
        return batch.images
    full = spec.complete("attacks", cell.attack)

    def attack() -> Tensor:
        model.bf16 = precision == "bf16"
        try:
            return spec.build("attacks", full, model, batch, threat, Rng(cell.seed, batch.ids)).detach()
        finally:
            model.bf16 = False

    if not getattr(spec.module("attacks", full.name), "HEADLESS", False):
        return attack()
    key = {
        "weights": plan.weights_of(cell.encoder),
        "attack": str(full),
        "versions": spec.versions("attacks", full),
        "threat": [threat.norm, threat.eps],
        "precision": precision,
        "seed": cell.seed,
        "ids": list(batch.ids),
    }
    return artifacts.adversarial(key, batch.images, attack)


@torch.no_grad()
def _scored(model: Model, images: Tensor, batch: Batch) -> Statistics:
    def score(part: Batch) -> Statistics:
        prediction = model(part.images).float()
        if not prediction.isfinite().all():
            raise CellError("nonfinite: the model predicts nan or inf; check its weights and its input range")
        return {key: value.cpu() for key, value in model.task.score(prediction, part.target).items()}

    return _halving(score, _joined, batch._replace(images=images))


def _joined(rows: Sequence[Statistics]) -> Statistics:
    return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}


def _total(rows: Sequence[Statistics]) -> dict[str, Tensor]:
    return {key: sum((row[key].sum(0) for row in rows[1:]), rows[0][key].sum(0)) for key in rows[0]}


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in metrics.items() if math.isfinite(value)}


@contextmanager
def _counted(encoder: Encoder) -> Generator[dict[str, float]]:
    """How many pictures went forward through the encoder and how many backward."""
    count: dict[str, float] = {"forwards": 0, "backwards": 0}

    def forward(_module: object, inputs: tuple[Tensor, ...], _output: object) -> None:
        count["forwards"] += len(inputs[0])
        if inputs[0].requires_grad:
            size = len(inputs[0])
            inputs[0].register_hook(lambda _gradient: count.update(backwards=count["backwards"] + size))

    handle = encoder.register_forward_hook(forward)
    try:
        yield count
    finally:
        handle.remove()


def _peak(device: str) -> int:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    import resource  # POSIX only

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _made_by(cell: Cell, encoder: Encoder, rule: protocol.Protocol, machine: Machine) -> dict[str, Any]:
    from importlib.metadata import version

    name = torch.cuda.get_device_name(machine.device) if machine.device.startswith("cuda") else f"cpu x{torch.get_num_threads()}"
    return {
        "versions": {"python": platform.python_version(), **{key: version(key) for key in ("brittle", "torch", "timm", "numpy")}},
        "device": name,
        "precision": machine.precision,
        "weights_sha256": plan.weights_of(cell.encoder),
        "weights": encoder.about,
        "data_sha256": plan.dataset_of(cell.dataset, "test").fingerprint,
        "protocol": rule.describe(),
        "left_out": getattr(plan.dataset_of(cell.dataset, "test"), "left_out", 0),
        "data_licence": plan.dataset_of(cell.dataset, "test").licence,
        "settings": {
            kind: str(spec.complete(kind, text))
            for kind, text in {"encoders": cell.encoder, "datasets": cell.dataset, "tasks": cell.task, "attacks": cell.attack}.items()
            if text
        },
    }


def _npz(arrays: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def failure(cell: Cell, error: BrittleError, name: str) -> Result:
    """The row of a cell, of identity ``name``, that could not be measured."""
    task = plan.task_of(cell.task)
    facts = {"name": task.name, "headline": task.headline, "higher_is_better": task.higher_is_better, "attack": task.attack}
    return Result(id=name, cell=cell, task=facts, failed=str(error))
