"""How fast this machine is at one encoder, data set and task: measured in a short trial, and kept for a day."""

import json
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from brittle.core import files, shared
from brittle.core.progress import say
from brittle.evaluation import loading, probe
from brittle.evaluation.machine import Machine
from brittle.evaluation.networks import model_of
from brittle.evaluation.protocol import Protocol, windows_of
from brittle.evaluation.scoring import targeted
from brittle.planning.identity import Resolved
from brittle.types import Batch, Encoder, Features, LabelFree, Memory, Model, Network, frozen
from brittle.types.model import out_of_memory

VERSION = 1
DAY = 86_400  # seconds after which what was measured is measured again: the machine may have been busy
LOOKED_AT = 16  # images of the test split, evenly, that are read
LONG = 0.5  # seconds that say enough
STEPS = 4  # of a head
FEW = 2  # images in a step where a whole one takes long


class Line(NamedTuple):
    """Seconds of n images at once: ``fixed``, and so much for ``each``."""

    fixed: float
    each: float

    def of(self, images: int, at_once: int) -> float:
        """Seconds of so many images, ``at_once`` of them in a batch."""
        return -(-images // at_once) * self.fixed + images * self.each


@dataclass(frozen=True)
class Rates:
    """Seconds on this machine.

    Args:
        read: an image read and prepared.
        look: images through the encoder.
        score: images predicted and scored.
        climb: the same with the gradient at the pixels, in the precision of attacks.
        step: a step of all learning rates of the head.
        judge: an image of the val split judged with the heads of all of them.
        batch: images in a batch.
        held: bytes that an image holds until its gradient is there.
    """

    read: float
    look: Line
    score: Line
    climb: Line
    step: float
    judge: float
    batch: int
    held: int

    def times(self, factor: float) -> "Rates":
        """Those of a model that takes so many times as much."""
        lines = {name: Line(*(factor * part for part in getattr(self, name))) for name in ("look", "score", "climb")}
        step, judge, held = (factor * each for each in (self.step, self.judge, self.held))
        return replace(self, **lines, step=step, judge=judge, held=round(held))


def rates_of(
    resolved: Resolved, encoder: Encoder | Network, rule: Protocol, machine: Machine, *, like: Rates | None = None
) -> Rates:
    """The rates of the cells of a head, measured with as many threads as this process has.

    Args:
        like: what to take where they were not measured before, in place of measuring.
    """
    key = {
        "version": VERSION,
        "weights": resolved.weights,
        "data": resolved.data("test").fingerprint,
        "task": str(resolved.parts["tasks"].spec),
        "protocol": rule.to_dict(),
        "machine": [name_of(machine.device), machine.batch_size, machine.workers, machine.precision],
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    path = shared.folder("rates") / files.sha256(json.dumps(key, sort_keys=True))
    stored = files.read_sealed(path)
    if stored is not None and time.time() - path.stat().st_mtime < DAY:
        values: dict[str, Any] = json.loads(stored)
        values |= {name: Line(*values[name]) for name in ("look", "score", "climb")}
        return Rates(**values)
    if like:
        return like
    rates = _measured(resolved, encoder, rule, machine)
    with suppress(OSError):  # a cache that is full or only read: measured again next time
        files.write_sealed(path, json.dumps(asdict(rates)).encode())
    return rates


def name_of(device: str) -> str:
    """The device by its own name and that of its machine, as several may share the folder of what is kept."""
    return f"{platform.node()} {torch.cuda.get_device_name(device) if device.startswith('cuda') else device}"


def _measured(resolved: Resolved, encoder: Encoder | Network, rule: Protocol, machine: Machine) -> Rates:
    task, data = resolved.task, resolved.data("test")
    say(f"measuring how fast this machine is: {resolved.cell.encoder} / {resolved.cell.dataset} / {task.name}")
    some = range(0, len(data), max(1, len(data) // LOOKED_AT))[:LOOKED_AT]

    def read() -> list[Batch]:
        return list(loading.batches(data, some, task, rule, machine))

    reading = min(_seconds(read, machine.device) for _ in range(2)) / len(some)
    model = _model(resolved, encoder, rule, machine)
    with frozen(model):
        batch = max(targeted(read(), model, True), key=lambda batch: len(batch.images))
        most = machine.batch_size or loading.most(batch.images[0], machine.device)
        if model.network:  # its library's preprocessing is slow the first time
            _works(model, machine.precision)[1](batch.rows([0]))
        score, climb = (_line(work, batch, most, machine.device) for work in _works(model, machine.precision))
        fitted = not isinstance(encoder, Network)
        look, step, judge = _fit(resolved, encoder, rule, machine, batch) if fitted else (score, 0.0, 0.0)
        return Rates(reading, look, score, climb, step, judge, most, _held(model, batch.rows([0])))


def _model(resolved: Resolved, encoder: Encoder | Network, rule: Protocol, machine: Machine) -> Model:
    if isinstance(encoder, Network):
        return model_of(resolved, encoder, rule)
    task, head = resolved.task, _head(resolved, encoder, rule).to(machine.device)
    return Model(task, head, encoder, window=rule.window, stride=rule.stride, look=rule.look, reads=rule.reads).eval()


def _head(resolved: Resolved, encoder: Encoder, rule: Protocol) -> nn.Module:
    """A head of the kind that the task has; how fast it is does not hang on its weights."""
    task = resolved.task
    if isinstance(task, LabelFree):
        return task.head_on(encoder)
    outputs = loading.classes_of(resolved.data("test"), task.target)
    return (
        task.head_read(encoder, outputs)
        if task.head_sha256
        else probe.unfitted(task, rule.look.width(encoder.dim), outputs)
    )


def _works(model: Model, precision: str) -> Sequence[Callable[[Batch], object]]:
    """A batch scored, and its gradient."""

    @torch.no_grad()
    def score(batch: Batch) -> object:
        return model.task.score(model(batch.images).float(), batch.target)

    def climb(batch: Batch) -> object:
        images = batch.images.clone().requires_grad_()
        with model.using(bf16=precision == "bf16"):
            loss = model.task.loss(model(images), batch.target)
            return torch.autograd.grad(loss.sum(), images, allow_unused=True)

    return score, climb


def _held(model: Model, batch: Batch) -> int:
    """Bytes that are kept until the gradient of a batch is there, beside the weights."""
    weights = {weight.data_ptr() for weight in model.parameters()}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.task.loss(model(batch.images.clone().requires_grad_()), batch.target)
    return sum(sizes.values())


def _fit(
    resolved: Resolved, encoder: Encoder, rule: Protocol, machine: Machine, batch: Batch
) -> tuple[Line, float, float]:
    """Of the fit of a head: images through the encoder, seconds of a step, and of an image judged by all heads."""
    task, device = resolved.task, machine.device

    @torch.no_grad()
    def look(batch: Batch) -> Features:
        return encoder.look(batch.images, rule.look)

    whole = max(windows_of(batch, rule), key=lambda window: window.images.numel())
    line = _line(look, whole, machine.batch_size or loading.most(whole.images[0], device), device)
    if isinstance(task, LabelFree) or task.head_sha256 or isinstance(_head(resolved, encoder, rule), Memory):
        return line, 0.0, 0.0
    seen, outputs = look(whole), loading.classes_of(resolved.data("test"), task.target)

    def fit(count: int, steps: int, looks: int) -> float:
        place = [row % len(whole.images) for row in range(count)]
        rows = [(Features(*(part.half().cpu()[place] for part in seen)), whole.target.cpu()[place])]
        recipe = replace(rule.recipe, steps=steps, epochs=0, many=0, patience=looks, halving=10 * STEPS)
        width, given = rule.look.width(encoder.dim), {"device": device, "recipe": recipe}
        return _seconds(partial(probe.fit, task, width, encoder.patch, outputs, rows, rows, **given), device)

    count, steps = (rule.recipe.batch, STEPS) if fit(FEW, 1, 0) < LONG else (FEW, 1)
    short, long, watched = fit(count, 1, 0), fit(count, 1 + steps, 0), fit(count, 1 + steps, 1 + steps)
    step, judge = max(0.0, long - short) / steps, max(0.0, watched - long) / steps
    return line, step * rule.recipe.batch / count, judge / count


def _line(work: Callable[[Batch], object], batch: Batch, most: int, device: str) -> Line:
    """Timed with one image and with more, until that takes long enough to tell or is a whole batch."""

    def seconds(count: int) -> float:
        part = batch.rows([row % len(batch.images) for row in range(count)])
        return min(_seconds(lambda: work(part), device) for _ in range(2))

    first = _seconds(lambda: work(batch.rows([0])), device)  # with whatever only the first one does
    count, one = 1, first if first > LONG else seconds(1)
    taken = one
    while count < most and taken < LONG:
        more = min(most, 4 * count)
        try:
            taken, count = seconds(more), more
        except Exception as error:
            if not out_of_memory(error):
                raise
            break  # batches are halved
    each = max(0.0, taken - one) / (count - 1) if count > 1 else one
    return Line(max(0.0, one - each), each)


def _seconds(work: Callable[[], object], device: str) -> float:
    began = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
