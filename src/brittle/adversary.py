"""The attack of a cell, batch by batch: halved when memory asks, shared between heads where it looks at none, resumed and kept."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from brittle import artifacts, evidence, plan, spec
from brittle.plan import Cell
from brittle.shelf import Shelf
from brittle.threat import Threat
from brittle.trace import Trace
from brittle.types import Batch, Model

COSTLY = 5.0  # seconds that a batch must have taken to be written down for a resumed run


@dataclass(frozen=True)
class Adversary:
    """What makes the adversarial images of a cell.

    Args:
        precision: in which the attack runs the encoder.
        shelf: where costly batches are written down, and read again; none to forget them.
        keep: write all of them down.
    """

    cell: Cell
    model: Model
    threat: Threat
    precision: str
    shelf: Shelf | None = None
    keep: bool = False

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """``images`` [B,3,H,W], what Trace.summary has of them, [B] each, and for a greedy ensemble ``candidates`` [B,M,3,H,W]."""
        found = self.shelf.get(batch.ids) if self.shelf else None
        if found is not None:
            return {key: value.to(batch.images.device) for key, value in found.items()}
        began = time.monotonic()
        found = self._made(batch)
        if self.shelf and (self.keep or time.monotonic() - began > COSTLY):
            self.shelf.put(batch.ids, found)
        return found

    def _made(self, batch: Batch) -> dict[str, Tensor]:
        if self.cell.attack is None:
            return {"images": batch.images, **Trace.nothing(len(batch.images))}
        return evidence.sparing(self._whole, batch)

    def _whole(self, batch: Batch) -> dict[str, Tensor]:
        assert self.cell.attack is not None
        full = spec.complete("attacks", self.cell.attack)
        module = spec.module("attacks", full.name)
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

    def _attack(self, full: spec.Spec, batch: Batch, *, greedy: bool = False) -> dict[str, Tensor]:
        trace = Trace()
        trace.candidates = [] if greedy else None
        images = evidence.attacked(self.model, full, batch, self.threat, self.cell.seed, precision=self.precision, trace=trace)
        found = {"images": images, **trace.summary(len(images))}
        if trace.candidates:
            found["candidates"] = torch.stack(trace.candidates, 1)
        return found
