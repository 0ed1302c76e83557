"""The machine: device, batch size, precision, and what is installed on it."""

import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from brittle.core import files
from brittle.core.errors import UsageError, unknown

PRECISIONS = ("auto", "fp32", "bf16")
COMPILES = ("auto", "on", "off")


@dataclass(frozen=True)
class Machine:
    """How to run: where, how many images at once (0 goes by their size) and how many readers, which change no number;
    ``precision``, ``fp32`` or ``bf16``, in which attacks run the encoder, which may (it is part of an attacked cell's
    identity; scores are float32); ``keep``, whether adversarial images stay on disk; ``alone``, whether no other worker
    is at the same run, who could be making what this one needs, or do a part of it; and ``compiles``, whether attacks
    run the encoder compiled: ``on``, ``off``, or ``auto``, where that is worth it."""

    device: str = "cpu"
    batch_size: int = 0
    workers: int = 0
    precision: str = "fp32"
    keep: bool = False
    alone: bool = True
    compiles: str = "off"


def machine(
    device: str = "auto",
    batch_size: int = 0,
    workers: int = 0,
    precision: str = "auto",
    keep: bool = False,
    *,
    compiles: str = "auto",
) -> Machine:
    """Where and how to run; device ``auto`` is the first GPU, else the CPU; batch size 0 goes by the images' size;
    precision ``auto`` is ``bf16`` for attacks where the machine computes in it, else ``fp32``; ``compiles`` is
    ``auto``, ``on`` or ``off``.

    Raises:
        UsageError: there is none such.
    """
    for what, value, known in (("precision", precision, PRECISIONS), ("choice of compiling", compiles, COMPILES)):
        if value not in known:
            raise unknown(what, str(value), known)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise UsageError(
            f"no device {device!r} here; there is cpu{', cuda' if torch.cuda.is_available() else ''}"
        ) from None
    if precision == "auto":
        native = torch.cuda.is_bf16_supported() if device.startswith("cuda") else "avx512_bf16" in _processor_flags()
        precision = "bf16" if native else "fp32"
    return Machine(device, batch_size, workers, precision, keep, compiles=compiles)


def _processor_flags() -> str:
    """The line of instruction sets in Linux's description of the processor; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    return (
        next((line for line in path.read_text().splitlines() if line.startswith("flags")), "") if path.is_file() else ""
    )


def environment(device: str = "cpu") -> dict[str, Any]:
    """Versions and machine, as plain data."""
    from importlib.metadata import PackageNotFoundError, version

    versions: dict[str, str | None] = {}
    for name in (
        "brittle",
        "torch",
        "torchvision",
        "timm",
        "numpy",
        "safetensors",
        "lightning",
        "transformers",
        "open_clip_torch",
        "ray",
    ):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        if torch.cuda.is_available()
        else [],
        "cache": str(files.cache()),
        "versions": versions,
    }


def peak_bytes(device: str) -> int:
    """The most memory that this process has held, on the GPU where it runs on one."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    import resource  # POSIX only

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
