"""Peak memory and time of a gradient through sliding windows: one window at a time, as we do it, over one graph that
holds them all, as most people write it; and over the floor, which is the same windows with their passes alone.

    python benchmarks/windows.py --json windows.json

Each is a process of its own in each round, one after the other, so the ratios hold. Cityscapes at full resolution with
DINOv2's size is ``--height 1024 --width 2048 --window 518``; one graph then takes more memory than many machines have.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor

import brittle
from brittle.planning import identity
from brittle.types import Model, frozen, per_image, windows
from rounds import Spread, clock, ratio, rows_of, show, spread, tell

OURS, GRAPH, FLOOR = "window by window", "one graph", "floor"
WAYS = (FLOOR, GRAPH, OURS)
CLASSES = 19
GIB = 2**30


def peak() -> int:
    """Most bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def scene(encoder: str, height: int, width: int, window: int) -> tuple[Model, Tensor, Tensor]:
    """A model in windows, an image [1,3,H,W] and its mask [1,H,W]."""
    torch.manual_seed(0)
    made, task = brittle.load_encoder(encoder), identity.task_of("segmentation")
    head = task.head(made.dim, CLASSES)
    torch.nn.init.normal_(head.classify.weight, std=0.02)  # type: ignore[union-attr]
    model = Model(task, head, made, window=window, stride=-(-window * 2 // 3)).eval()
    return model, torch.rand(1, 3, height, width), torch.randint(CLASSES, (1, height, width))


def whole(model: Model, images: Tensor, target: Tensor) -> Tensor:
    """The gradient [1,3,H,W] of the loss of the map that the windows' are averaged to."""
    images.requires_grad_()
    return torch.autograd.grad(per_image(model.task.loss(model(images), target)).sum(), images)[0]


def alone(model: Model, images: Tensor, target: Tensor) -> Tensor:
    """A forward and a backward of each window by itself, which gives another gradient: the maps are not averaged."""
    total = torch.zeros_like(images)
    height, width = images.shape[-2:]
    for rows, columns in windows.places(height, width, model.window, model.stride):
        part = images[..., rows, columns].clone().requires_grad_()
        loss = per_image(model.task.loss(model(part), target[..., rows, columns])).sum()
        total[..., rows, columns] += torch.autograd.grad(loss, part)[0]
    return total


def kept(function: Callable[[Tensor], Tensor], part: Tensor, **_: object) -> Tensor:
    """In place of torch's checkpoint: everything that a window's backward needs stays."""
    return function(part)


def measured(way: str, made: tuple[Model, Tensor, Tensor], file: Path) -> dict[str, float]:
    """One gradient, taken one way and written to a file: bytes at the peak above what was held before, those of the
    whole process, and seconds."""
    if way == GRAPH:
        windows.checkpoint = kept  # type: ignore[assignment]
    before = peak()
    with frozen(made[0]):
        began = clock()
        gradient = (alone if way == FLOOR else whole)(*made)
        seconds = clock() - began
    most = peak()
    save_file({"gradient": gradient.contiguous()}, file)
    return {"over": most - before, "peak": most, "seconds": seconds}


def process(way: str, arguments: list[str], file: Path) -> dict[str, float] | None:
    """The same in a process of its own; None where that was ended, as where memory is short."""
    # glibc gives back what is freed, so a peak is what was asked for, not what it kept
    surroundings = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    command = [sys.executable, __file__, *arguments, "--within", way, "--gradient", str(file)]
    done = subprocess.run(command, env=surroundings, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        typer.echo(f"{way}: ended with {done.returncode}, which is -9 where memory is short")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def apart(folder: Path, ways: list[str]) -> float | None:
    """Length of the difference of both gradients over that of one graph's; None where one of them is not there."""
    if OURS not in ways or GRAPH not in ways:
        return None
    ours, graph = (load_file(folder / f"{way}.safetensors")["gradient"].double() for way in (OURS, GRAPH))
    return float((ours - graph).norm() / graph.norm())


def table(taken: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Print and give the rows."""
    seconds = {way: [each["seconds"] for each in rounds] for way, rounds in taken.items()}
    most = {way: spread([each["peak"] for each in rounds])._asdict() for way, rounds in taken.items()}
    over = {way: spread([each["over"] for each in rounds])._asdict() for way, rounds in taken.items()}
    rows = rows_of(seconds, *(base for base in (FLOOR, GRAPH) if base in taken), bytes_over_start=over, bytes=most)

    def note(row: Any) -> str:
        held, in_all = (Spread(**row[name]).median / GIB for name in ("bytes_over_start", "bytes"))
        return f"{held:6.2f} GiB over the start, {in_all:6.2f} in all"

    show(rows, note=note)
    return rows


def main(
    encoder: Annotated[
        str, typer.Option(help="Encoder spec.")
    ] = "timm:vit_small_patch14_dinov2.lvd142m(pretrained=false, size=224)",
    height: Annotated[int, typer.Option(help="Of the image.")] = 448,
    width: Annotated[int, typer.Option(help="Of the image.")] = 896,
    window: Annotated[int, typer.Option(help="Edge of a window; the stride is two thirds of it.")] = 224,
    rounds: Annotated[int, typer.Option(help="How often each is timed.")] = 3,
    only: Annotated[str, typer.Option(help="Measure the ways alone that have this in their names.")] = "",
    path: Annotated[Path | None, typer.Option("--json", help="Where to write the figures too.")] = None,
    within: Annotated[str, typer.Option(hidden=True, help="Measure this way in this process.")] = "",
    gradient: Annotated[Path, typer.Option(hidden=True, help="Where that writes its gradient.")] = Path(),
) -> None:
    """Measure and print."""
    if within:
        print(json.dumps(measured(within, scene(encoder, height, width, window), gradient)))
        return
    count = len(windows.places(height, width, window, -(-window * 2 // 3)))
    typer.echo(f"{count} windows of {window} over {height}x{width}")
    size = ["--height", str(height), "--width", str(width), "--window", str(window), "--encoder", encoder]
    taken: dict[str, list[dict[str, float]]] = {}
    ended = set[str]()
    with TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(rounds):
            for way in [way for way in WAYS if only in way and way not in ended]:
                cost = process(way, size, folder / f"{way}.safetensors")
                if cost is None:
                    ended.add(way)
                else:
                    taken.setdefault(way, []).append(cost)
        taken = {way: costs for way, costs in taken.items() if way not in ended}
        gap = apart(folder, list(taken))
    rows = table(taken) if taken else {}
    memory = None
    if gap is not None:
        held = {way: [each["over"] for each in costs] for way, costs in taken.items()}
        memory = ratio(held, OURS, GRAPH)
        same = f"differ by {gap:.0e} of their length" if gap else "are the same"
        typer.echo(f"memory over the start {memory.median:.2f} of one graph; the gradients {same}")
    found = {"memory_over_graph": memory._asdict() if memory else None, "gradients_apart": gap, "rows": rows}
    tell(path, encoder=encoder, height=height, width=width, window=window, windows=count, **found)


if __name__ == "__main__":
    typer.run(main)
