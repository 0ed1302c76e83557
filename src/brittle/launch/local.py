"""Cells on this machine: one after the other in this process, or at once by several workers, one on each GPU or in as
many processes on the CPU."""

import torch

from brittle.core.errors import UsageError
from brittle.core.settings import Count
from brittle.launch.parts.cell import Work
from brittle.launch.parts.crew import Crew, cores
from brittle.launch.parts.worker import spoken, work_off


def local(work: Work, /, *, devices: Count = 1) -> None:
    """Measure the cells that are to be done.

    Args:
        devices: how many workers; 0 for as many as there are GPUs, or cores. On the CPU they share the cores.

    Raises:
        UsageError: there are fewer GPUs.
    """
    own = cores()
    on_gpu = work.machine.device.startswith("cuda")
    there = torch.cuda.device_count() if on_gpu else own
    count = min(devices or there, max(1, len(work.cells)))
    if on_gpu and count > there:
        raise UsageError(f"--devices {devices}: there are {there} GPUs here")
    if count < 2:
        with spoken(work, echo=True):
            work_off(work)
        return
    names = [f"cuda:{place}" for place in range(count)] if on_gpu else ["cpu"] * count
    Crew(work, names, max(1, own // count)).run()
