"""Cells one after the other in this process."""

import json
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace

from brittle import grid, plan, progress
from brittle.errors import BrittleError, CellError
from brittle.measure import Machine, failure, measure
from brittle.plan import Cell
from brittle.shelf import Shelf
from brittle.store import Store


def local(cells: Mapping[str, Cell], store: Store, machine: Machine, checks: str, /) -> int:
    """Measure cells (by id) that the store lacks; a cell that fails is written down with its reason and the others go on.

    Returns:
        How many failed.
    """
    failed = 0
    feeds = {plan.identity(earlier, machine.precision) for cell in cells.values() if (earlier := grid.before(cell))}
    for number, (name, cell) in enumerate(cells.items(), 1):
        with store.claim(name):
            if store.done(name, checks, machine.keep):  # another process was quicker
                continue
            progress.say(f"[{number}/{len(cells)}] {cell}")
            try:
                shelf = Shelf(store.shelf(name))
                smaller = grid.before(cell)
                earlier = Shelf(store.shelf(plan.identity(smaller, machine.precision))) if smaller else None
                keeping = replace(machine, keep=machine.keep or name in feeds)
                result, samples = measure(cell, keeping, checks, shelf, earlier)
                if result.id != name:
                    raise CellError(f"{cell.encoder} or its data changed since the run began; leave weights and data alone and run again")
                store.put(result, samples)
                if machine.keep and cell.attack:
                    store.note(f"adversarial/{name}/cell.json", json.dumps(asdict(cell), indent=1))
                elif name not in feeds:
                    shelf.clear()
                if earlier and not machine.keep:
                    earlier.clear()
            except BrittleError as error:
                failed += 1
                store.put_failed(failure(cell, error, name))
                progress.say(f"failed: {cell}: {error}", always=True)
            except (RuntimeError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, OSError) as error:
                failed += 1  # a fault of an encoder, of the disk or of ours: it must not take the other cells with it
                where = traceback.extract_tb(error.__traceback__)[-1]
                reason = CellError(f"{type(error).__name__} in {where.name}: {' '.join(str(error).split())[:300]}")
                progress.say(f"failed: {cell}: {reason}", always=True)
                with suppress(OSError):  # a full disk has no room for the reason either
                    store.put_failed(failure(cell, reason, name))
    return failed
