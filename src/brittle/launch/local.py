"""Cells one after the other in this process."""

import traceback
from collections.abc import Mapping
from contextlib import suppress

from brittle import progress
from brittle.errors import BrittleError, CellError
from brittle.measure import Machine, failure, measure
from brittle.plan import Cell
from brittle.store import Store


def local(cells: Mapping[str, Cell], store: Store, machine: Machine, checks: str, /) -> int:
    """Measure cells (by id) that the store lacks; a cell that fails is written down with its reason and the others go on.

    Returns:
        How many failed.
    """
    failed = 0
    for number, (name, cell) in enumerate(cells.items(), 1):
        with store.claim(name):
            if store.get(name):  # another process was quicker
                continue
            progress.say(f"[{number}/{len(cells)}] {cell}")
            try:
                store.put(*measure(cell, machine, checks))
            except BrittleError as error:
                failed += 1
                store.put_failed(failure(cell, error))
                progress.say(f"failed: {cell}: {error}")
            except (RuntimeError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, OSError) as error:
                failed += 1  # a fault of an encoder, of the disk or of ours: it must not take the other cells with it
                where = traceback.extract_tb(error.__traceback__)[-1]
                reason = CellError(f"{type(error).__name__} in {where.name}: {' '.join(str(error).split())[:300]}")
                progress.say(f"failed: {cell}: {reason}")
                with suppress(OSError):  # a full disk has no room for the reason either
                    store.put_failed(failure(cell, reason))
    return failed
