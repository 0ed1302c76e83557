"""One Cell in, one Result out: the head, the attack, the verdict on what the attack returned, and the score."""

import io
import math
import platform
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brittle import artifacts, plan, protocol, spec
from brittle.adversary import Adversary
from brittle.errors import BrittleError, UsageError
from brittle.evidence import findings
from brittle.plan import Cell, Finding, Result
from brittle.progress import progress
from brittle.shelf import Shelf
from brittle.tally import Tally, targeted
from brittle.threat import Threat
from brittle.types import Batch, Encoder, Model, Task, frozen


@dataclass(frozen=True)
class Machine:
    """How to run: where, how many pictures at once (0 goes by their size) and how many readers, which change no number; ``precision``,
    ``fp32`` or ``bf16``, in which attacks run the encoder, which may (it is part of an attacked cell's identity; scores are float32); and
    ``keep``, whether adversarial images stay on disk."""

    device: str = "cpu"
    batch_size: int = 0
    workers: int = 0
    precision: str = "fp32"
    keep: bool = False


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


def measure(
    cell: Cell, machine: Machine, checks: str = "fast", shelf: Shelf | None = None, earlier: Shelf | None = None
) -> tuple[Result, bytes]:
    """The result of a cell and its per-image samples (an .npz file's bytes).

    Args:
        checks: ``none``, ``fast`` or ``full``: the evidence to gather for an attacked number.
        shelf: where adversarial images are written down, so that an interrupted cell goes on from there.
        earlier: where the cell of the next smaller budget left its own.

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
    assert model.encoder is not None
    rule = protocol.standard(cell.dataset, task, model.encoder.size)

    def batches(split: str, count: int | None) -> Iterator[Batch]:
        pictures = plan.dataset_of(cell.dataset, split)
        some = range(min(count or len(pictures), len(pictures)))
        found = protocol.batches(pictures, some, task, rule, machine.batch_size, workers=machine.workers, device=machine.device)
        return targeted(found, model, attacked=cell.attack is not None)

    def training(count: int) -> list[Batch]:
        return list(batches("train", count))

    adversary = Adversary(cell, model, threat, machine.precision, shelf if cell.attack else None, machine.keep, earlier, training)
    tally = Tally(model, threat, len(indices) if checks != "none" and _checkable(cell, task) else 0)
    with frozen(model), _counted(model.encoder) as count:
        with progress(str(cell), len(indices)) as advance:
            for batch in batches("test", cell.limit):
                tally.add(batch, adversary(batch))
                advance(len(batch.images), f"{task.headline} {tally.headline():.3f}")
        scores = tally.scores()
        cost = {"seconds": round(time.monotonic() - began, 3), **count}
        found: tuple[Finding, ...] = ()
        if cell.attack and tally.wanted:
            found = findings(tally.evidence(cell.attack, cell.seed, machine.precision, scores, full=checks == "full"))
    result = Result(
        id=name,
        cell=cell,
        task={"name": task.name, "headline": task.headline, "higher_is_better": task.higher_is_better, "attack": task.attack},
        metrics=_finite(scores.metrics),
        metrics_uint8=_finite(scores.metrics_uint8),
        intervals=scores.intervals,
        images=len(tally.ids),
        image_ids_sha256=artifacts.image_ids(tally.ids),
        findings=found,
        cost={**cost, "check_seconds": round(time.monotonic() - began - cost["seconds"], 3), "peak_bytes": _peak(machine.device)},
        curve=tuple(tally.curve()),
        made_by={**_made_by(cell, model.encoder, rule, machine), "checks": checks if _checkable(cell, task) else plan.EVIDENCE[-1]},
    )
    return result, _npz({**scores.samples, "ids": np.array(tally.ids)})


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
        **({"attack": about} if (about := _about(cell.attack)) else {}),
    }


def _checkable(cell: Cell, task: Task) -> bool:
    """Whether checks have anything to try again: not on a clean row, nor where targets are made as one goes or images come from disk."""
    if cell.attack is None or isinstance(task, protocol.LabelFree):
        return False
    return not hasattr(spec.module("attacks", spec.parse(cell.attack).name), "about")


def _about(attack: str | None) -> Mapping[str, Any]:
    """Where the images of an attack that reads them from disk come from."""
    full = spec.complete("attacks", attack) if attack else None
    about = getattr(spec.module("attacks", full.name), "about", None) if full else None
    return about(full.argument) if full and about else {}


def _npz(arrays: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def failure(cell: Cell, error: BrittleError, name: str) -> Result:
    """The row of a cell, of identity ``name``, that could not be measured."""
    task = plan.task_of(cell.task)
    facts = {"name": task.name, "headline": task.headline, "higher_is_better": task.higher_is_better, "attack": task.attack}
    return Result(id=name, cell=cell, task=facts, failed=str(error))
