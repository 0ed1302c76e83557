"""Cells one after the other in this process."""

from brittle.launch.parts.cell import Work, run_cell


def local(work: Work, /) -> int:
    """Measure the cells that are to be done.

    Returns:
        How many failed.
    """
    return sum(not run_cell(work, name) for name in work.cells)
