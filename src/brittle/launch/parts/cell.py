"""One cell measured and stored: claimed, resumed, kept, and its failure written down; every worker's unit."""

import secrets
import traceback
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Literal

from brittle.attacks.parts.image_store import ImageStore
from brittle.core import files, progress
from brittle.core.errors import BrittleError, Busy, CellError, MissingError
from brittle.core.records import Cell, Result
from brittle.evaluation.attacking import PARTS
from brittle.evaluation.machine import Machine
from brittle.evaluation.measure import assist, failure, measure
from brittle.planning.identity import resolve
from brittle.planning.warm_start import smaller_cell, titled
from brittle.reports.parts import wording
from brittle.results.attempts import attempt
from brittle.results.noted import noted, place
from brittle.results.store import DAMAGE, Store

LARGE = 50_000  # passes of an image: a cell of more is worth being shared by several workers
ATTEMPTS = 3  # at a cell that takes its worker with it
Outcome = Literal["done", "failed", "busy"]


@dataclass(frozen=True)
class Work:
    """What workers are to do, all of them together.

    Args:
        cells: by identity, in the order in which each may continue from those before it.
        store: the run folder.
        machine: how to run.
        checks: ``none``, ``fast`` or ``full``: the evidence to gather.
        costs: what each of the cells takes, in passes of an image; 0 for a clean one, most of which is its head.
        plan: the identities of all cells of the plan, those that were done before among them, in its order.
    """

    cells: Mapping[str, Cell]
    store: Store
    machine: Machine
    checks: str
    costs: Mapping[str, float] = field(default_factory=dict[str, float])
    plan: Sequence[str] = ()

    @cached_property
    def earlier(self) -> Mapping[str, str]:
        """The identity of the cell of the next smaller budget, for each cell that continues from one."""
        ids: dict[str, str] = {}
        for name, cell in self.cells.items():
            smaller = smaller_cell(cell)
            if smaller:
                with suppress(BrittleError):  # weights that are gone fail their own cells
                    ids[name] = resolve(smaller, self.machine.precision).id
        return ids

    def head(self, name: str) -> tuple[object, ...]:
        """What the cells of one head have in common."""
        cell = self.cells[name]
        return cell.encoder, cell.dataset, cell.seed, cell.task

    @cached_property
    def turns(self) -> Mapping[tuple[object, ...], int]:
        """When the turn of each head is: those of the encoders one after the other, each in the order of its own."""
        heads = dict.fromkeys(map(self.head, self.cells))
        encoders = [head[0] for head in heads]
        return {head: encoders[:place].count(head[0]) for place, head in enumerate(heads)}

    def large(self, name: str) -> bool:
        """Whether a cell is worth being shared by several workers."""
        return self.costs.get(name, 0.0) > LARGE

    @cached_property
    def key(self) -> str:
        """What tells it from that of another run in the same folder."""
        return secrets.token_hex(10)

    @contextmanager
    def note(self) -> Generator[None]:
        """Write it into the run folder, for workers that begin with nothing else. Those that are started inside take
        its own note, which is gone afterwards: another run that begins meanwhile would send them to its cells."""
        machine = {
            key: getattr(self.machine, key) for key in ("batch_size", "workers", "precision", "keep", "compiles")
        }
        cells = {name: asdict(cell) for name, cell in self.cells.items()}
        data = {
            "cells": cells,
            "machine": machine,
            "checks": self.checks,
            "costs": {**self.costs},
            "plan": [*self.plan],
        }
        own = place(self.store.root, self.key)
        for path in (place(self.store.root), own):
            files.write_record(path, data)
        try:
            yield
        finally:
            with suppress(OSError):  # what is left of it harms nobody
                own.unlink()

    @classmethod
    def noted(cls, store: Store, device: str, of: str = "") -> "Work":
        """What was written into a run folder, for one of several workers on a device.

        Args:
            of: the ``key`` of a run; the last one that was started where empty.

        Raises:
            MissingError: nothing was, or it is damaged.
        """
        data = noted(store.root, of)
        try:
            cells = {name: Cell(**cell) for name, cell in data["cells"].items()}
            machine = Machine(device, **data["machine"], alone=False)
            return cls(cells, store, machine, data["checks"], data["costs"], data["plan"])
        except DAMAGE as error:
            what = f"no work in {store.root}: {type(error).__name__} {' '.join(str(error).split())[:100]}"
            raise MissingError(f"{what}; start it with brittle run --executor manual") from None

    def finished(self, name: str) -> bool:
        """Whether a cell is done, or has failed since the run was started."""
        return self.store.failed(name) or self.store.done(name, self.checks, self.machine.keep)


def run_cell(work: Work, name: str) -> Outcome:
    """Measure one of the cells, if no other process was quicker, and store it; a cell that fails is written down with
    its reason, and the others are not disturbed.

    Returns:
        What has become of it; ``busy`` where another worker is at it, or is making something that it needs.
    """
    store, others = work.store, not work.machine.alone
    try:
        with store.claim(name, wait=not others):
            if store.done(name, work.checks, work.machine.keep):
                if not others:  # else who did it has said so
                    progress.finished(name)
                return "done"
            if others and store.failed(name):
                return "failed"
            return _tried(work, name)
    except Busy:
        return "busy"


def _tried(work: Work, name: str) -> Outcome:
    cell = work.cells[name]
    place, title = list(work.cells).index(name) + 1, titled(cell)
    try:
        with attempt(work.store.root, name) as before:
            if before >= ATTEMPTS:
                raise CellError(f"{before} workers in a row ended while they measured it, as when memory runs out")
            result = _measure(work, name, cell)
    except Busy:
        raise
    except BrittleError as error:
        _failed(work, name, error)
        return "failed"
    except Exception as error:  # noqa: BLE001 - of an encoder, a decoder, the disk or ours; others go on
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__} in {where.name}: {' '.join(str(error).split())[:300]}"
        with suppress(OSError):  # a full disk has no room for the reason either
            _failed(work, name, CellError(reason))
        return "failed"
    score = f"{result.task['headline']} {wording.text(result)}"
    progress.finished(name, f"[{place}/{len(work.cells)}] {title}: {score}")
    return "done"


def _failed(work: Work, name: str, error: BrittleError) -> None:
    progress.say(f"failed: {titled(work.cells[name])}: {error}", always=True)
    work.store.put_failed(failure(work.cells[name], error, name))
    progress.finished(name)  # not before: to a launcher it is a sign that its workers get something done


def _measure(work: Work, name: str, cell: Cell) -> Result:
    store, machine = work.store, work.machine
    feeds = name in work.earlier.values()
    images, earlier = _images(work, name)
    claim = _Claims(store, name) if work.large(name) and not machine.alone else None
    result, samples, pictures = measure(
        cell, replace(machine, keep=machine.keep or feeds), work.checks, images, earlier, claim
    )
    store.put(result, samples, pictures)
    if claim:
        claim.clear()
    if machine.keep and cell.attack:
        ImageStore(images.folder / PARTS).clear()
        store.put_images(name, cell)
    elif not feeds:
        images.clear()
    if earlier and not machine.keep:
        earlier.clear()
    return result


def assist_cell(work: Work, name: str) -> int | None:
    """Attack batches of a large cell that another worker is measuring; how many they were, or None where it has not
    come that far. What goes wrong is for that worker to say. Once that worker has come to its end nothing more is
    attacked: the images are cleared by then, and those of the smaller budget to start from, too."""
    if not work.large(name):
        return 0
    before = _ends(work.store, name)
    if work.finished(name):
        return 0
    images, earlier = _images(work, name)
    try:
        return assist(work.cells[name], work.machine, images, earlier, _Claims(work.store, name, before))
    except Busy:
        return None
    except _Ended:
        return 0
    except Exception as error:  # noqa: BLE001 - as above
        progress.say(f"could not help with {titled(work.cells[name])}: {type(error).__name__}: {error}")
        return 0


def _images(work: Work, name: str) -> tuple[ImageStore, ImageStore | None]:
    """Where a cell's attacked images are written down, and those that it continues from."""
    before = work.earlier.get(name)
    return ImageStore(work.store.images(name), of=name), ImageStore(work.store.images(before)) if before else None


def _ends(store: Store, name: str) -> list[tuple[int, int] | None]:
    """Which files say how a cell ended: others as soon as another end is written down."""
    found: list[tuple[int, int] | None] = []
    for folder in ("results", "failed"):
        try:
            status = (store.root / folder / f"{name}.json").stat()
            found.append((status.st_ino, status.st_mtime_ns))
        except OSError:  # none
            found.append(None)
    return found


class _Ended(Exception):
    """The cell that is helped with has come to its end."""


@dataclass(frozen=True)
class _Claims:
    """Claims on the batches of a cell.

    Args:
        before: the ends of the cell when a helper began; None for whoever measures it.
    """

    store: Store
    name: str
    before: Sequence[object] | None = None

    @contextmanager
    def __call__(self, ids: Sequence[str], wait: bool) -> Generator[None]:
        with self.store.claim(f"{self.name}-{files.sha256(' '.join(ids))[:12]}", wait=wait):
            if self.before is not None and self.before != _ends(self.store, self.name):
                raise _Ended
            yield

    def clear(self) -> None:
        """Remove their files, one a batch, of a cell that is done: who claims a batch of it now makes another, and
        then sees that."""
        for path in (self.store.root / "locks").glob(f"{self.name}-*"):
            with suppress(OSError):
                path.unlink()
