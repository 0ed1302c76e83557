"""One cell measured and stored: claimed, resumed, kept, and its failure written down; every launcher's unit."""

import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

from brittle.attacks.parts.image_store import ImageStore
from brittle.core import progress
from brittle.core.errors import BrittleError, CellError
from brittle.core.records import Cell, Result
from brittle.evaluation.machine import Machine
from brittle.evaluation.measure import failure, measure
from brittle.planning.identity import resolve
from brittle.planning.warm_start import smaller_cell, titled
from brittle.reports.parts import wording
from brittle.results.store import Store


@dataclass(frozen=True)
class Work:
    """What a launcher is to do.

    Args:
        cells: by identity, in the order in which each may continue from those before it.
        store: the run folder.
        machine: how to run.
        checks: ``none``, ``fast`` or ``full``: the evidence to gather.
    """

    cells: Mapping[str, Cell]
    store: Store
    machine: Machine
    checks: str

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


def run_cell(work: Work, name: str) -> bool:
    """Measure one of the cells, if no other process was quicker, and store it; a cell that fails is written down with
    its reason, and the others are not disturbed.

    Returns:
        Whether it is done.
    """
    store, machine, cell = work.store, work.machine, work.cells[name]
    with store.claim(name):
        if store.done(name, work.checks, machine.keep):
            progress.finished(name)
            return True
        place, title = list(work.cells).index(name) + 1, titled(cell)
        try:
            result = _measure(work, name, cell)
        except BrittleError as error:
            store.put_failed(failure(cell, error, name))
            progress.say(f"failed: {title}: {error}", always=True)
            progress.finished(name)
            return False
        except Exception as error:  # noqa: BLE001 - of an encoder, a decoder, the disk or ours; others go on
            where = traceback.extract_tb(error.__traceback__)[-1]
            reason = CellError(f"{type(error).__name__} in {where.name}: {' '.join(str(error).split())[:300]}")
            progress.say(f"failed: {title}: {reason}", always=True)
            progress.finished(name)
            with suppress(OSError):  # a full disk has no room for the reason either
                store.put_failed(failure(cell, reason, name))
            return False
        score = f"{result.task['headline']} {wording.text(result)}"
        progress.finished(name, f"[{place}/{len(work.cells)}] {title}: {score}")
    return True


def _measure(work: Work, name: str, cell: Cell) -> Result:
    store, machine = work.store, work.machine
    feeds = name in work.earlier.values()
    images = ImageStore(store.images(name))
    before = work.earlier.get(name)
    earlier = ImageStore(store.images(before)) if before else None
    result, samples, pictures = measure(
        cell, replace(machine, keep=machine.keep or feeds), work.checks, images, earlier
    )
    if result.id != name:
        changed = f"{cell.encoder} or its data changed since the run began"
        raise CellError(f"{changed}; leave weights and data alone and run again")
    store.put(result, samples, pictures)
    if machine.keep and cell.attack:
        store.put_images(name, cell)
    elif not feeds:
        images.clear()
    if earlier and not machine.keep:
        earlier.clear()
    return result
