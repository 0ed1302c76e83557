"""Peak memory and time of a gradient through sliding windows: one window at a time, as we do it, over one graph that
holds them all.

    python benchmarks/windows.py

Each runs in a process of its own, one after the other, so the ratios hold. Cityscapes at full resolution with DINOv2's
size is ``--height 1024 --width 2048 --window 518``; one graph then takes more memory than most machines have.
"""

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Annotated, NamedTuple

import torch
import typer
from torch import Tensor

import brittle
from brittle.planning import identity
from brittle.types import Model, frozen, per_image, windows

WAYS = ("window by window", "one graph")
CLASSES = 19


class Cost(NamedTuple):
    """Bytes at the peak above what was held before, the peak of the whole process, seconds of the quickest round, norm
    of the gradient."""

    over: int
    peak: int
    seconds: float
    norm: float


def peak() -> int:
    """Most bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measured(way: str, encoder: str, height: int, width: int, window: int, rounds: int) -> Cost:
    """One gradient of the segmentation loss, taken one way."""
    if way == "one graph":

        def kept(function: Callable[[Tensor], Tensor], part: Tensor, **_: object) -> Tensor:
            return function(part)

        windows.checkpoint = kept  # type: ignore[assignment]
    torch.manual_seed(0)
    made, task = brittle.load_encoder(encoder), identity.task_of("segmentation")
    head = task.head(made.dim, CLASSES)
    torch.nn.init.normal_(head.classify.weight, std=0.02)  # type: ignore[union-attr]
    model = Model(task, head, made, window=window, stride=-(-window * 2 // 3)).eval()
    images, target = torch.rand(1, 3, height, width), torch.randint(CLASSES, (1, height, width))
    before, times, norm = peak(), [], 0.0
    with frozen(model):
        for _ in range(rounds):
            began = time.perf_counter()
            images.requires_grad_()
            (gradient,) = torch.autograd.grad(per_image(task.loss(model(images), target)).sum(), images)
            times.append(time.perf_counter() - began)
            norm = float(gradient.norm())
    return Cost(peak() - before, peak(), min(times), norm)


def main(
    encoder: Annotated[
        str, typer.Option(help="Encoder spec.")
    ] = "timm:vit_small_patch14_dinov2.lvd142m(pretrained=false, size=224)",
    height: Annotated[int, typer.Option(help="Of the image.")] = 448,
    width: Annotated[int, typer.Option(help="Of the image.")] = 896,
    window: Annotated[int, typer.Option(help="Edge of a window; the stride is two thirds of it.")] = 224,
    rounds: Annotated[int, typer.Option(help="How often each is timed.")] = 3,
    only: Annotated[str, typer.Option(help="Measure one way alone.")] = "",
) -> None:
    """Measure and print."""
    # glibc gives back what is freed, so a peak is what was asked for, not what it kept
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**20)
    count = len(windows.places(height, width, window, -(-window * 2 // 3)))
    print(f"{count} windows of {window} over {height}x{width}, {torch.get_num_threads()} threads")
    found: dict[str, Cost] = {}
    for way in [way for way in WAYS if only in way]:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found[way] = cost = pool.submit(measured, way, encoder, height, width, window, rounds).result()
        print(
            f"{way:16} {cost.over / 2**30:6.2f} GiB over the start, {cost.peak / 2**30:6.2f} in all, "
            f"{cost.seconds:7.1f} s"
        )
    if len(found) == len(WAYS):
        ours, theirs = (found[way] for way in WAYS)
        memory, seconds, gap = ours.over / theirs.over, ours.seconds / theirs.seconds, abs(ours.norm / theirs.norm - 1)
        print(f"memory {memory:.2f}, time {seconds:.2f} of one graph; the norms of the gradients differ by {gap:.0e}")


if __name__ == "__main__":
    typer.run(main)
