"""The attack of a cell, batch by batch: halved when memory asks, shared between heads where it looks at none, resumed
and kept."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from brittle.attacks.parts.halving import join, split_on_oom
from brittle.attacks.parts.image_store import ImageStore
from brittle.attacks.parts.run import attacked
from brittle.core import files
from brittle.core.errors import Busy
from brittle.core.traits import AttackTraits
from brittle.core.tree import Part
from brittle.evaluation import cache
from brittle.planning.identity import Resolved, resolve
from brittle.planning.protocols import draws_of, quirks_of
from brittle.types import Batch, Model, windows
from brittle.types.attack_log import MOVED, SILENCE, Attacked, AttackLog
from brittle.types.rng import Rng
from brittle.types.threat import Threat

COSTLY = 5.0  # seconds that a batch, or a member of an ensemble, must have taken to be written down for a resumed run
Claim = Callable[[Sequence[str], bool], AbstractContextManager[None]]
"""What to be inside of while the images with these ids are attacked; and whether to wait for another who is, or else
get Busy."""
PARTS = "parts"  # the folder of members, inside that of batches


@dataclass(frozen=True)
class Adversary:
    """What makes the adversarial images of a cell.

    Args:
        images: where costly batches are written down, and read again; none to forget them.
        keep: write all of them down.
        earlier: what the next smaller budget's cell wrote down, to continue from.
        training: gives so many images of the train split, for an attack that learns from them.
        claim: where other workers attack other images of the same cell; None where this one is alone at it.
    """

    resolved: Resolved
    model: Model
    threat: Threat
    images: ImageStore | None = None
    keep: bool = False
    earlier: ImageStore | None = None
    training: Callable[[int], Iterable[Batch]] | None = None
    claim: Claim | None = None

    def __call__(self, batch: Batch) -> Attacked:
        """What the attack makes of a batch; the clean images where the cell has none."""
        attack = self.resolved.attack
        if attack is None:
            return Attacked.unlogged(batch.images)
        if kept := self._kept(batch):
            return kept
        if self.claim is None:
            return self._made(attack, batch)
        with self.claim(batch.ids, True):
            return self._kept(batch) or self._made(attack, batch)

    def ahead(self, batches: Iterable[Batch], advance: Callable[[int], object]) -> int:
        """Attack those of the batches that no other worker has attacked or is attacking, and write them down for
        whoever scores them; how many they were. ``advance`` is told of images."""
        attack, claim, images, count = self.resolved.attack, self.claim, self.images, 0
        assert attack is not None
        assert claim is not None
        assert images is not None
        for batch in batches:
            if not images.holds(batch.ids):  # else a helper would read what the others have made, all of it
                with suppress(Busy), claim(batch.ids, False):
                    if not self._kept(batch):
                        self._made(attack, batch)
                        count += 1
            advance(len(batch.images))
        return count

    def _kept(self, batch: Batch) -> Attacked | None:
        kept = self.images.get(batch.ids) if self.images else None
        return Attacked.of({key: value.to(batch.images.device) for key, value in kept.items()}) if kept else None

    def _made(self, attack: Part, batch: Batch) -> Attacked:
        began = time.monotonic()
        tensors = split_on_oom(lambda part: self._attacked(attack, attack.attack_traits, part), join, batch)
        if self.images and (self.keep or self.claim or time.monotonic() - began > COSTLY):
            self.images.put(batch.ids, tensors)
            if self.claim is None:
                ImageStore(self.images.folder / PARTS).clear()
        return Attacked.of(tensors)

    def _attacked(self, attack: Part, traits: AttackTraits, batch: Batch) -> dict[str, Tensor]:
        if self.earlier is not None and batch.start is None:
            smaller = self.earlier.get(batch.ids)
            batch = batch._replace(start=smaller["images"].to(batch.images) if smaller else None)
        if traits.learns:
            perturbation = self._learnt(attack, traits.learns).to(batch.images)
            return Attacked.unlogged(self.threat.project(batch.images, batch.images + perturbation)).tensors()
        if not attack.headless or traits.follows or traits.stored:  # what is stored is on disk already
            return self._attack(attack, traits, batch)
        key = {
            "weights": self.resolved.weights,
            "attack": str(attack.spec),
            "versions": attack.versions,
            "threat": [self.threat.norm, self.threat.eps],
            "reads": [*self.model.reads, *self.model.look] if attack.reads_as_head else [],
            "quirks": quirks_of(self.resolved.cell.protocol),
            "window": [self.model.window, self.model.stride] if self.model.windowed(batch.images) else [],
            "precision": self.resolved.precision,
            "seed": self.resolved.cell.seed,
            "draws": draws_of(self.resolved.cell.protocol),
            "ids": list(batch.ids),
        }
        return cache.adversarial(key, batch.images, lambda: self._attack(attack, traits, batch))

    def _learnt(self, attack: Part, learns: Callable[..., Tensor]) -> Tensor:
        """What an attack learns from training images, [3,H,W], once for all batches."""
        training, settings, cell = self.training, attack.spec.settings, self.resolved.cell
        assert training is not None

        def learn() -> dict[str, Tensor]:
            batches = list(training(int(str(settings["pictures"]))))
            with self.model.using(bf16=self.resolved.precision == "bf16"):
                return {"learnt": learns(self.model, batches, self.threat, self._rng(["universal"]), **settings)}

        whole = resolve(replace(cell, limit=None), self.resolved.precision, self.resolved.weights)
        return cache.get_or_make("universal", {"cell": whole.id}, learn)["learnt"]

    def _attack(self, attack: Part, traits: AttackTraits, batch: Batch) -> dict[str, Tensor]:
        follow = _Follow(self.model, batch) if traits.follows else None
        log = AttackLog(follow, collect=traits.whole_set)
        log.parts = _Parts(self.images.folder / PARTS, log) if self.images and follow is None else None
        rng, precision = self._rng(batch.ids), self.resolved.precision
        settles = not self.keep  # what is kept may be to attack other models with, and is to be as harmful as can be
        images = attacked(
            self.model, attack.spec, batch, self.threat, rng, precision=precision, settles=settles, log=log
        )
        outcome = log.attacked(images)
        if follow is not None:
            follow(images)
            outcome = replace(outcome, curve=follow.curve())
        return outcome.tensors()

    def _rng(self, ids: Sequence[str]) -> Rng:
        return Rng(self.resolved.cell.seed, ids, draws_of(self.resolved.cell.protocol))


class _Parts:
    """Remembers the costly members of an ensemble on disk, so that a long one continues in the middle of a batch."""

    def __init__(self, folder: Path, log: AttackLog) -> None:
        self.folder, self.log = folder, log

    def __call__(self, name: str, ids: Sequence[str], make: Callable[[], Tensor]) -> Tensor:
        store = ImageStore(self.folder / files.slug(name))
        held = store.get(ids)
        if held is not None:
            if len(held) > 1:
                self.log.recall(held)
            return held["images"]
        began, first = time.monotonic(), not self.log.losses
        images = make()
        if time.monotonic() - began > COSTLY:
            store.put(ids, {"images": images, **(self.log.notes() if first else {})})
        return images


class _Follow:
    """Scores each iterate of an attack in float32, and how far it moved the pooled feature (L2)."""

    def __init__(self, model: Model, batch: Batch) -> None:
        self.model, self.batch = model, batch
        self.rows: list[Mapping[str, Tensor]] = []
        self._clean = self._pooled(batch.images)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> None:
        with self.model.using(bf16=False, log=SILENCE):
            rows = self.model.task.score(self.model(images).float(), self.batch.target)
            self.rows.append({**rows, MOVED: (self._pooled(images) - self._clean).norm(dim=1)})

    def curve(self) -> dict[str, Tensor]:
        """The statistics of every iterate, [B,T,...]."""
        return {key: torch.stack([row[key] for row in self.rows], 1) for key in self.rows[0]}

    @torch.no_grad()
    def _pooled(self, images: Tensor) -> Tensor:
        if self.model.windowed(images):
            window, stride = self.model.window, self.model.stride
            parts = windows.over(lambda part: self.model.encode(part).pooled, images, window, stride)
            return torch.cat([pooled for _, pooled in parts], 1)
        return self.model.encode(images).pooled
