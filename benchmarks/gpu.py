"""All figures that need a GPU, in one run of some eight minutes.

    PYTHONPATH=src python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu.py --toy --device cpu    # the same in seconds on what a CPU can do, to try it

Of packages it needs torch, timm, lightning and what those bring, pydantic with what it is made of (annotated-types,
pydantic-core, typing-extensions, typing-inspection), safetensors, pillow, PyYAML, filelock, jinja2 and packaging;
brittle may be installed or not. Each part is written down as soon as it is done, and one that stops ends no other.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import brittle
from brittle.api.running import execute
from brittle.attacks.parts.run import attacked
from brittle.evaluation import compiled as compiling
from brittle.evaluation import probe
from brittle.evaluation.machine import machine
from brittle.evaluation.recipe import Recipe
from brittle.planning import identity, plan
from brittle.types import Batch, Features, Model, frozen, per_image
from brittle.types.rng import Rng
from brittle.types.threat import Threat
from floors import EPS, floor, naive
from rounds import facts, in_turn, rows_of, show

Part = Callable[["Size"], dict[str, Any]]


class Size(NamedTuple):
    """How large everything is."""

    device: str
    large: str = "timm:vit_base_patch14_dinov2.lvd142m(pretrained=false, size=518)"
    small: str = "timm:vit_small_patch16_224.augreg_in21k(pretrained=false)"
    dense: str = "timm:vit_small_patch14_dinov2.lvd142m(pretrained=false, size=518)"
    images: int = 16
    many: int = 256  # for the small encoder
    steps: int = 10
    rounds: int = 5
    height: int = 1024
    window: int = 518
    matrix: int = 8192
    fit: int = 200  # steps of heads
    plan: str = "demo"


TOY = {
    "large": "timm:test_vit(pretrained=false, size=32)",
    "small": "timm:test_vit(pretrained=false, size=32)",
    "dense": "timm:test_vit(pretrained=false, size=32)",
    "images": 2,
    "many": 2,
    "steps": 2,
    "rounds": 1,
    "height": 48,
    "window": 32,
    "matrix": 64,
    "fit": 2,
    "plan": "",
}


def model_on(size: Size, encoder: str, task: str = "classification", **how: Any) -> Model:
    """A model with a random head, on the device."""
    torch.manual_seed(0)
    made, what = brittle.load_encoder(encoder), identity.task_of(task)
    model = Model(what, what.head(made.dim, 19), made, **how).eval().to(size.device)
    for weight in model.head.parameters():  # type: ignore[union-attr]
        nn.init.normal_(weight, std=0.02)
    return model


def loss(model: Model, batch: Batch, bf16: bool, images: Tensor) -> Tensor:
    """The bare loop's: encoder and head as torch runs them, and the loss of torch."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        features = model.encoder(images)  # type: ignore[misc]
    return nn.functional.cross_entropy(model.head(Features(*(part.float() for part in features)), ()), batch.target)  # type: ignore[misc]


def pgd(size: Size, encoder: str, images: int) -> dict[str, Any]:
    """PGD of one fixed step count in bfloat16: the bare loop, ours, both compiled, and the loop that most people write
    in float32; image-steps a second, and the share of the matrix products that the device does in bfloat16."""
    model = model_on(size, encoder)
    edge = model.encoder.size  # type: ignore[union-attr]
    clean = (torch.rand(images, 3, edge, edge, device=size.device) * 255).round() / 255
    with torch.no_grad():
        batch = Batch(clean, model(clean).argmax(1), [str(number) for number in range(images)])
    twin = Model(model.task, model.head, compiling.Compiled(model.encoder)).eval()  # type: ignore[arg-type]
    bare, exact = (partial(loss, model, batch, bf16) for bf16 in (True, False))
    fused = torch.compile(bare, dynamic=False, backend=compiling.BACKEND)
    attack = f"pgd(steps={size.steps}, keep=last)"
    threat, rng = Threat("linf", EPS), Rng(0, batch.ids)
    work: dict[str, Callable[[], Tensor]] = {
        "bare loop": partial(floor, bare, clean, size.steps),
        "ours": partial(attacked, model, attack, batch, threat, rng, precision="bf16"),
        "bare loop, compiled": partial(floor, fused, clean, size.steps),
        "ours, compiled": partial(attacked, twin, attack, batch, threat, rng, precision="bf16"),
        "naive loop in float32": partial(naive, model, exact, clean, size.steps),
    }
    with frozen(model):
        for name in list(work)[:-1]:
            work[name]()  # with what only the first one does, such as compiling
        timed = in_turn(work, size.rounds)
        one = clean[:1].clone().requires_grad_()
        with FlopCounterMode(display=False) as counter:
            loss(model, batch.rows([0]), False, one).backward()
    work_done = images * size.steps
    rate = {name: work_done / sorted(values)[len(values) // 2] for name, values in timed.seconds.items()}
    most = products(size)
    share = {name: each * counter.get_total_flops() / most for name, each in rate.items()}
    rows = rows_of(timed.seconds, "bare loop", "bare loop, compiled", image_steps=rate, share_of_peak=share)
    show(rows, title=encoder[:40], note=lambda row: f"{row['image_steps']:.0f}/s, {row['share_of_peak']:.2f} of peak")
    return {"encoder": encoder, "images": images, "compiled": twin.encoder.compiled, "rows": rows}  # type: ignore[union-attr]


def products(size: Size) -> float:
    """Operations a second of large matrix products in bfloat16."""
    left = torch.rand(size.matrix, size.matrix, device=size.device).bfloat16()
    timed = in_turn({"product": lambda: [left @ left for _ in range(10)]}, 1 + size.rounds)
    return 10 * 2 * size.matrix**3 / min(timed.seconds["product"])


def attacks(size: Size) -> dict[str, Any]:
    """Both encoders."""
    return {
        "large": pgd(size, size.large, size.images),
        "small": pgd(size, size.small, size.many),
    }


def gradients(size: Size) -> dict[str, Any]:
    """The gradient through windows: seconds and, on a GPU, bytes at the peak."""
    stride = -(-size.window * 2 // 3)
    model = model_on(size, size.dense, "segmentation", window=size.window, stride=stride)
    images = torch.rand(1, 3, size.height, 2 * size.height, device=size.device)
    target = torch.randint(19, images[:, 0].shape, device=size.device)
    most: dict[str, float] = {}

    def gradient(name: str) -> Tensor:
        images.requires_grad_()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        with model.using(bf16=True):
            (found,) = torch.autograd.grad(per_image(model.task.loss(model(images), target)).sum(), images)
        most[name] = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        return found.detach()

    with frozen(model):
        gradient("windows")
        timed = in_turn({"windows": partial(gradient, "windows")}, size.rounds)
    return {"seconds": timed.seconds, "peak_bytes": most}


def heads(size: Size) -> dict[str, Any]:
    """Steps a second of depth heads, all learning rates at once."""
    encoder, task = brittle.load_encoder(size.large), identity.task_of("depth")
    cells = encoder.size // encoder.patch
    rows = [
        (
            Features(torch.randn(16, encoder.dim).half(), torch.randn(16, encoder.dim, cells, cells).half()),
            torch.rand(16, 1, encoder.size, encoder.size) + 1,
        )
    ]
    recipe = Recipe(steps=size.fit, epochs=0, many=0, patience=0)
    began = time.perf_counter()
    probe.fit(task, encoder.dim, encoder.patch, 1, rows, rows, device=size.device, recipe=recipe)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return {"steps_per_second": size.fit / (time.perf_counter() - began)}


def same(size: Size) -> dict[str, Any]:
    """Random numbers, and the numbers of small cells, on the device and on the CPU."""
    shape = (4, 3, 16, 16)
    drawn = [
        Threat("linf", EPS).sample(torch.full(shape, 0.5, device=device), Rng(0, list("abcd"))).cpu()
        for device in ("cpu", size.device)
    ]
    numbers: dict[str, dict[str, float]] = {}
    for device in dict.fromkeys(("cpu", size.device)):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["BRITTLE_CACHE"] = f"{folder}/cache"
            results = brittle.run(
                ["pixels(size=8)"],
                ["scenes(train=64, val=32, test=32, size=8)"],
                tasks=["classification", "segmentation", "depth"],
                limit=8,
                output_dir=f"{folder}/run",
                device=device,
                precision="fp32",
                protocol="standard(heads=quick)",
            )
            numbers[device] = {f"{r.cell.task} {r.cell.attack}": r.metrics[r.task["headline"]] for r in results}
    return {"equal_draws": bool(torch.equal(*drawn)), "headlines": numbers}


def demo(size: Size) -> dict[str, Any]:
    """Seconds of the embedded default with nothing kept from before."""
    if not size.plan:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BRITTLE_CACHE"] = f"{folder}/cache"
        began = time.perf_counter()
        execute(plan.read(size.plan), Path(folder, "run"), machine(size.device))
        return {"seconds": time.perf_counter() - began}


PARTS: Mapping[str, Part] = {"same": same, "demo": demo, "attacks": attacks, "windows": gradients, "heads": heads}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda, cuda:1 or cpu")
    parser.add_argument("--toy", action="store_true", help="as small as it gets")
    parser.add_argument("--json", type=Path, help="where to write the figures too")
    parser.add_argument("--only", choices=list(PARTS), action="append", help="this part alone")
    given = parser.parse_args(arguments)
    size = Size(given.device, **(TOY if given.toy else {}))  # type: ignore[arg-type]
    if given.toy:
        compiling.BACKEND = "aot_eager"  # all of compiling but the making of kernels, which takes a minute
    found: dict[str, Any] = {"facts": facts(), "size": size._asdict()}
    for name in given.only or PARTS:
        began = time.perf_counter()
        try:
            found[name] = PARTS[name](size)
        except Exception as error:  # noqa: BLE001 - the others are measured all the same
            found[name] = {"failed": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        print(f"{name}: {time.perf_counter() - began:.0f} s {found[name].get('failed', '')}", flush=True)
        if given.json:
            given.json.write_text(json.dumps(found, indent=1), encoding="utf8")
    return found


if __name__ == "__main__":
    main()
