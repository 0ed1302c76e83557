"""The attack of a cell, batch by batch: halved when memory asks, shared between heads where it looks at none, resumed and kept."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from brittle import artifacts, evidence, files, plan, spec, windows
from brittle.memory import halving, joined
from brittle.plan import Cell
from brittle.shelf import Shelf
from brittle.threat import Threat
from brittle.trace import Trace
from brittle.types import Batch, Model

COSTLY = 5.0  # seconds that a batch, or a member of an ensemble, must have taken to be written down for a resumed run
PARTS = "parts"  # the folder of members, inside that of batches


@dataclass(frozen=True)
class Adversary:
    """What makes the adversarial images of a cell.

    Args:
        precision: in which the attack runs the encoder.
        shelf: where costly batches are written down, and read again; none to forget them.
        keep: write all of them down.
        earlier: what the next smaller budget's cell wrote down, to go on from.
        training: gives so many pictures of the train split, for an attack that learns from them.
    """

    cell: Cell
    model: Model
    threat: Threat
    precision: str
    shelf: Shelf | None = None
    keep: bool = False
    earlier: Shelf | None = None
    training: Callable[[int], Sequence[Batch]] | None = None

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """``images`` [B,3,H,W], what Trace.summary has of them, [B] each, and for a greedy ensemble ``candidates`` [B,M,3,H,W]."""
        found = self.shelf.get(batch.ids) if self.shelf else None
        if found is not None:
            return {key: value.to(batch.images.device) for key, value in found.items()}
        began = time.monotonic()
        found = halving(self._made, joined, batch)
        if self.shelf and (self.keep or time.monotonic() - began > COSTLY):
            self.shelf.put(batch.ids, found)
            Shelf(self.shelf.folder / PARTS).clear()
        return found

    def _made(self, batch: Batch) -> dict[str, Tensor]:
        if self.cell.attack is None:
            return {"images": batch.images, **Trace.nothing(len(batch.images))}
        full = spec.complete("attacks", self.cell.attack)
        module = spec.module("attacks", full.name)
        if self.earlier is not None and batch.start is None:
            found = self.earlier.get(batch.ids)
            batch = batch._replace(start=found["images"].to(batch.images) if found else None)
        if hasattr(module, "learn"):
            images = self.threat.project(batch.images, batch.images + self._learnt(full, batch.images))
            return {"images": images, **Trace.nothing(len(images))}
        if not getattr(module, "HEADLESS", False):
            return self._attack(full, batch, greedy=getattr(module, "GREEDY", False))
        key = {
            "weights": plan.weights_of(self.cell.encoder),
            "attack": str(full),
            "versions": spec.versions("attacks", full),
            "threat": [self.threat.norm, self.threat.eps],
            "window": [self.model.window, self.model.stride] if self.model.windowed(batch.images) else [],
            "precision": self.precision,
            "seed": self.cell.seed,
            "ids": list(batch.ids),
        }
        return artifacts.adversarial(key, batch.images, lambda: self._attack(full, batch))

    def _learnt(self, full: spec.Spec, like: Tensor) -> Tensor:
        """What an attack learns from training pictures, once for all batches."""
        assert self.training is not None

        def learn() -> dict[str, Tensor]:
            assert self.training is not None
            batches = self.training(int(str(full.settings["pictures"])))
            self.model.bf16 = self.precision == "bf16"
            try:
                learn = spec.module("attacks", full.name).learn
                return {"learnt": learn(self.model, batches, self.threat, self.cell.seed, **full.settings)}
            finally:
                self.model.bf16 = False

        key = {"cell": plan.identity(replace(self.cell, limit=None), self.precision)}
        return artifacts.keep("universal", key, learn)["learnt"].to(like)

    def _attack(self, full: spec.Spec, batch: Batch, *, greedy: bool = False) -> dict[str, Tensor]:
        follow = _Follow(self.model, batch) if getattr(spec.module("attacks", full.name), "CURVE", False) else None
        trace = Trace(follow)
        trace.candidates = [] if greedy else None
        trace.parts = _Parts(self.shelf.folder / PARTS, trace) if self.shelf and follow is None else None
        images = evidence.attacked(self.model, full, batch, self.threat, self.cell.seed, precision=self.precision, trace=trace)
        found = {"images": images, **trace.summary(len(images))}
        if trace.aim is not None:
            found["aim"] = trace.aim
        if trace.candidates:
            found["candidates"] = torch.stack(trace.candidates, 1)
        if follow is not None:
            follow(images)
            found |= {f"curve_{key}": torch.stack([row[key] for row in follow.rows], 1) for key in follow.rows[0]}
        return found


class _Parts:
    """Remembers the costly members of an ensemble on disk, so that a long one goes on in the middle of a batch."""

    def __init__(self, folder: Path, trace: Trace) -> None:
        self.folder, self.trace = folder, trace

    def __call__(self, name: str, ids: Sequence[str], make: Callable[[], Tensor]) -> Tensor:
        shelf = Shelf(self.folder / files.slug(name))
        held = shelf.get(ids)
        if held is not None:
            if len(held) > 1:
                self.trace.recall(held)
            return held["images"]
        began, first = time.monotonic(), not self.trace.losses
        images = make()
        if time.monotonic() - began > COSTLY:
            shelf.put(ids, {"images": images, **(self.trace.notes() if first else {})})
        return images


class _Follow:
    """Scores each iterate of an attack in float32, and how far it moved the pooled feature (L2)."""

    def __init__(self, model: Model, batch: Batch) -> None:
        self.model, self.batch = model, batch
        self.rows: list[dict[str, Tensor]] = []
        self._clean = self._pooled(batch.images)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> None:
        bf16, self.model.bf16 = self.model.bf16, False
        try:
            rows = self.model.task.score(self.model(images).float(), self.batch.target)
            self.rows.append({**rows, "distance": (self._pooled(images) - self._clean).norm(dim=1)})
        finally:
            self.model.bf16 = bf16

    @torch.no_grad()
    def _pooled(self, images: Tensor) -> Tensor:
        if self.model.windowed(images):
            parts = windows.over(lambda part: self.model.encode(part).pooled, images, self.model.window, self.model.stride)
            return torch.cat([pooled for _, pooled in parts], 1)
        return self.model.encode(images).pooled
