"""What a tuning run writes as it goes: snapshots that are encoders, a log, and how robust it is by nearest
neighbours."""

import csv
import io
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brittle.core import components, files
from brittle.core.errors import UsageError
from brittle.core.progress import say
from brittle.encoders.parts import cards
from brittle.evaluation.machine import environment
from brittle.tuning.parts.method import Method
from brittle.tuning.parts.recipe import Recipe
from brittle.types import Batch, Encoder, Features, Memory, Model, frozen
from brittle.types.rng import Rng
from brittle.types.threat import Threat

FINAL = "encoder.safetensors"
COLUMNS = ("step", "epoch", "loss", "rate", "seconds", "clean", "attacked")
TASK, ATTACK, EPS = "classification(head=knn)", "pgd(steps=10)", 4 / 255
KNOWN, ASKED = 512, 128  # images that the neighbours are among, and that are measured
Labelled = Callable[[str, int], Iterator[tuple[Tensor, Tensor]]]
"""(split, how many) -> batches of images and labels."""


class Watch:
    """The files of a run: ``encoder.safetensors`` at the end, ``epoch-N`` or ``step-N`` before it, and ``log.csv``:
    each step's loss, rate and seconds, and where it is measured the accuracy by nearest neighbours, clean and
    attacked.

    Args:
        count: images of an epoch.
        origin: what the cards say of where the weights come from.
        labelled: images to measure on; None where there are no labels.
        classes: how many.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        count: int,
        origin: Mapping[str, Any],
        labelled: Labelled | None,
        classes: int,
    ) -> None:
        self.folder, self.recipe, self.count, self.origin = folder, recipe, count, dict(origin)
        self.labelled, self.classes = labelled, classes
        self.best, self.since, self.began = -1.0, 0, time.monotonic()
        self.done = recipe.total(count)
        self.log = folder / "log.csv"
        self.writer: Any = None
        self.board: Any = _board(folder) if recipe.tensorboard else None
        if recipe.probe_every and labelled is None:
            raise UsageError(f"probe_every={recipe.probe_every} needs labels, and the data set has none; leave it out")

    def step(self, step: int, loss: float, rate: float) -> None:
        """A line of the log."""
        if self.writer is None:
            self._open(step)
        self._write({"step": step, "loss": loss, "rate": rate})

    def stop(self, step: int, method: Method) -> bool:
        """Write and measure what is due after ``step`` steps; whether the measure has not risen for long enough."""
        recipe, last, self.done = self.recipe, step == self.recipe.total(self.count), step
        if recipe.due(step, recipe.save_every, self.count) and not last:
            unit, number = ("epoch", step // recipe.per_epoch(self.count)) if recipe.epochs else ("step", step)
            self._save(method.student, self.folder / f"{unit}-{number:06d}.safetensors", step)
        if not recipe.due(step, recipe.probe_every, self.count):
            return False
        clean, attacked = self.measured(method.student)
        if self.writer is None:
            self._open(step)
        self._write({"step": step, "clean": clean, "attacked": attacked})
        say(f"step {step}: accuracy by nearest neighbours {clean:.3f}, attacked at 4/255 {attacked:.3f}")
        self._note(attacked)
        return bool(recipe.patience) and self.since >= recipe.patience

    def _note(self, attacked: float) -> None:
        self.since = 0 if attacked > self.best else self.since + 1
        self.best = max(self.best, attacked)

    def finish(self, student: Encoder) -> None:
        """Write the weights of the end."""
        self._save(student, self.folder / FINAL, self.done)

    def measured(self, student: Encoder) -> tuple[float, float]:
        """Accuracy of the vote of nearest neighbours on the val split, clean and attacked."""
        assert self.labelled is not None
        task: Any = components.build("tasks", TASK)
        device = next(student.parameters()).device
        head = task.head(student.dim, self.classes)
        assert isinstance(head, Memory)
        with frozen(student):
            head.memorise(self._features(student, self.labelled("train", KNOWN)))
            model, right, asked = Model(task, head.to(device).eval(), student), [0, 0], 0
            for number, (images, labels) in enumerate(self.labelled("val", ASKED)):
                batch = Batch(images.to(device), labels.to(device), [f"{number}/{i}" for i in range(len(images))])
                asked += len(images)
                threat, rng = Threat("linf", EPS), Rng(0, batch.ids)
                attacked = components.build("attacks", ATTACK, model, batch, threat, rng)
                for place, seen in enumerate((batch.images, attacked)):
                    with torch.no_grad():
                        right[place] += int((model(seen).argmax(1) == batch.target).sum())
        return right[0] / asked, right[1] / asked

    @staticmethod
    @torch.no_grad()
    def _features(student: Encoder, rows: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Features, Tensor]]:
        device = next(student.parameters()).device
        for images, labels in rows:
            yield student(images.to(device)), labels

    def _save(self, student: Encoder, path: Path, step: int) -> None:
        epoch = step / self.recipe.per_epoch(self.count)
        cards.write(path, student, {**self.origin, "step": step, "epoch": epoch, "made_by": environment()["versions"]})

    def _open(self, step: int) -> None:
        """Go on with the log before ``step``; what a stopped run wrote after its checkpoint is made again."""
        rows: list[dict[str, str]] = []
        if self.log.is_file():
            with io.StringIO(self.log.read_text(encoding="utf8", errors="replace").replace("\0", "")) as before:
                rows = [row for row in csv.DictReader(before) if (row.get("step") or "").isdecimal()]
                rows = [row for row in rows if int(row["step"]) < step]
        for row in rows:
            with suppress(ValueError, TypeError):  # a row of a step alone, or one that was broken
                self._note(float(row["attacked"]))
        with io.StringIO() as text:
            writer: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
            files.write_whole(self.log, text.getvalue().encode())
        self.writer = csv.DictWriter(self.log.open("a", 1, encoding="utf8"), COLUMNS, lineterminator="\n")

    def _write(self, row: dict[str, Any]) -> None:
        epoch = row["step"] / self.recipe.per_epoch(self.count)
        self.writer.writerow({**row, "epoch": f"{epoch:g}", "seconds": f"{time.monotonic() - self.began:.2f}"})
        if self.board is not None:
            self.board.log_metrics({key: value for key, value in row.items() if key != "step"}, row["step"])


def _board(folder: Path) -> Any:
    try:
        from lightning.fabric.loggers.tensorboard import TensorBoardLogger

        return TensorBoardLogger(folder, name="tensorboard", version="")
    except ModuleNotFoundError:
        raise UsageError("tensorboard=true needs the package 'tensorboard'; pip install it") from None
