"""The Python words: load an encoder or a data set, attack anything, run a plan, tune an encoder."""

import contextlib
import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brittle import files, plan, protocol, spec
from brittle.errors import UsageError
from brittle.measure import Machine
from brittle.plan import Cell, Plan, Result
from brittle.progress import say
from brittle.rng import Rng
from brittle.store import Store
from brittle.tasks.classification import classification
from brittle.threat import Norm, Threat
from brittle.types import Batch, Dataset, Encoder, Model, frozen


def load_encoder(text: str) -> Encoder:
    """The encoder of a spec, in evaluation mode: images [B,3,H,W] in [0,1] to Features.

    Raises:
        UsageError, MissingError: the spec makes no sense, or its weights are not there.
    """
    return spec.build("encoders", text).eval()


def load_dataset(text: str, split: str = "test") -> Dataset:
    """One split (``train``, ``val`` or ``test``) of the data set of a spec."""
    if split not in ("train", "val", "test"):
        raise UsageError(f"no split {split!r}; there is train, val, test")
    return spec.build("datasets", text, split)


def attack(
    model: Callable[[Tensor], Tensor] | Encoder,
    images: Tensor,
    target: Tensor | None = None,
    *,
    attack: str = "pgd",
    task: str = "classification",
    eps: float | str = 8 / 255,
    norm: Norm = "linf",
    seed: int = 0,
    ids: Sequence[str] | None = None,
) -> Tensor:
    """Adversarial images for ``images``, within ``eps`` and [0, 1].

    Args:
        model: any callable from [0,1] images to logits [B,C], logits [B,C,H,W] or metres [B,1,H,W]; or an Encoder, for ``embed``.
        images: [B,3,H,W] in [0,1].
        target: what the task reads: labels [B], masks [B,H,W], depth [B,1,H,W]; not needed by an embedding attack.
        attack: spec, such as ``pgd(steps=40)``.
        eps: budget in pixel units.
        ids: names of the images, to which the random starts belong; their positions if None.

    Raises:
        UsageError: images outside [0,1] or of another shape, a target that the model has no output for, or any spec that makes no sense.
    """
    if images.dim() != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise UsageError(f"images are {images.dtype} {tuple(images.shape)}; they must be float [B,3,H,W] in [0,1]")
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        raise UsageError(f"images go from {images.min():.3g} to {images.max():.3g}; they must be in [0,1], the model normalises inside")
    threat = Threat(norm, plan.check_eps(eps))
    made = spec.build("tasks", task)
    full = spec.complete("attacks", attack)
    if not plan.fits(attack, made.name):
        raise UsageError(f"attack {full.name!r} is not for {made.name}; try {made.attack!r}")
    if isinstance(model, Encoder):
        wrapped = Model(made, None, model)
    else:
        wrapped = Model(made, model)
    names = list(ids) if ids is not None else [str(i) for i in range(len(images))]
    if len(names) != len(images):
        raise UsageError(f"{len(names)} ids for {len(images)} images; give one for each")
    headless = getattr(spec.module("attacks", full.name), "HEADLESS", False)
    if target is None and not headless:
        raise UsageError(f"attack {full.name!r} needs a target: labels, masks or depth of the {len(images)} images")
    if target is not None and len(target) != len(images):
        raise UsageError(f"{len(target)} targets for {len(images)} images; give one for each")
    batch = Batch(images, target if target is not None else images.new_zeros(len(images), dtype=torch.long), names)
    with frozen(wrapped):
        if target is not None and not target.is_floating_point():
            _watch_range(wrapped, target)
        return spec.build("attacks", full, wrapped, batch, threat, Rng(seed, names)).detach()


def _watch_range(model: Model, target: Tensor) -> None:
    """Have the first prediction refuse labels and masks that the model has no output for: in a loss they would be an error of its innards,
    on a GPU the end of it."""

    def look(_model: object, _images: object, prediction: Tensor) -> None:
        handle.remove()
        outputs = prediction.shape[1]
        if (value := protocol.foreign(target, outputs)) is not None:
            raise UsageError(f"target {value} is none of the model's {outputs} classes (0 to {outputs - 1}; 255 is void in a mask)")

    handle = model.register_forward_hook(look)


def run(
    encoders: Sequence[str],
    datasets: Sequence[str],
    tasks: Sequence[str] = (),
    attacks: Sequence[str] = ("embed", "downstream"),
    eps: Sequence[float | str] = (8 / 255,),
    *,
    norm: Norm = "linf",
    seeds: Sequence[int] = (0,),
    limit: int | None = None,
    output_dir: str | Path | None = None,
    checks: str = "fast",
    name: str = "run",
    device: str = "auto",
    batch_size: int = 0,
    precision: str = "auto",
    keep_adversarial: bool = False,
) -> list[Result]:
    """Measure every combination, resuming what ``output_dir`` (default ``runs/NAME``) already holds; the results in the plan's order."""
    made = plan.make(
        name=name,
        encoders=list(encoders),
        datasets=list(datasets),
        tasks=list(tasks),
        attacks=list(attacks),
        eps=list(eps),
        norm=norm,
        seeds=list(seeds),
        limit=limit,
        checks=checks,
    )
    return execute(made, Path(output_dir or Path("runs") / name), machine(device, batch_size, precision=precision, keep=keep_adversarial))


def machine(device: str = "auto", batch_size: int = 0, workers: int = 0, precision: str = "auto", keep: bool = False) -> Machine:
    """Where and how to run; device ``auto`` is the first GPU, else the CPU; batch size 0 goes by the pictures' size; precision ``auto`` is
    ``bf16`` for attacks where the machine computes in it, else ``fp32``."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise UsageError(f"no device {device!r} here; there is cpu{', cuda' if torch.cuda.is_available() else ''}") from None
    if precision == "auto":
        native = torch.cuda.is_bf16_supported() if device.startswith("cuda") else "avx512_bf16" in _processor_flags()
        precision = "bf16" if native else "fp32"
    return Machine(device, batch_size, workers, precision, keep)


def _processor_flags() -> str:
    """The line of instruction sets in Linux's description of the processor; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    return next((line for line in path.read_text().splitlines() if line.startswith("flags")), "") if path.is_file() else ""


def cells_of(made: Plan, precision: str) -> dict[str, Cell]:
    """The cells of a plan by identity; what does not fit is said."""
    cells, notes = plan.grid(made)
    for note in notes:
        say(note)
    return {plan.identity(cell, precision): cell for cell in cells}


def execute(made: Plan, folder: Path, where: Machine, executor: str = "local") -> list[Result]:
    """Measure what a run folder lacks of a plan, and write plan, environment and reports into it."""
    store = Store(folder)
    cells = cells_of(made, where.precision)
    lacking = set(store.missing(list(cells)))
    say(f"{len(cells)} cells, {len(cells) - len(lacking)} done before, {len(lacking)} to do; {folder}")
    store.note("plan.yaml", json.dumps(made.model_dump(), indent=1) + "\n")  # JSON is YAML
    store.note("env.json", json.dumps(environment(where.device), indent=1) + "\n")
    store.supersede(cells)
    for text in dict.fromkeys(cells[name].encoder for name in cells if name in lacking):
        _look(text)
    if lacking:
        launch = spec.component("launch", executor)
        launch({name: cell for name, cell in cells.items() if name in lacking}, store, where, made.checks)
    results = store.results()
    order = {name: place for place, name in enumerate(cells)}
    mine = sorted((result for result in results if result.id in order), key=lambda result: order[result.id])
    for kind in ("md", "csv", "json"):
        store.note(f"report/report.{kind}", spec.component("reports", kind)(mine))
    return mine


def _look(text: str) -> None:
    """Have an encoder that can be refused for what is in its file refused before any work starts, by its module's ``check``."""
    full = spec.complete("encoders", text)
    check = getattr(spec.module("encoders", full.name), "check", None)
    if check:
        check(full.argument, **full.settings)


def environment(device: str = "cpu") -> dict[str, Any]:
    """Versions and machine, as plain data."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {}
    for name in ("brittle", "torch", "torchvision", "timm", "numpy", "safetensors", "lightning", "transformers", "open_clip_torch", "ray"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else [],
        "cache": str(files.cache()),
        "versions": found,
    }


def finetune(
    method: str, encoder: str, dataset: str, *, output_dir: str | Path, batch_size: int = 64, seed: int = 0, limit: int | None = None
) -> Path:
    """Tune an encoder robustly and write ``encoder.safetensors`` with its card; goes on from ``checkpoint`` in the same folder.

    Args:
        method: spec of a tuning method, such as ``deacl(steps=500)``.
        limit: use only the first pictures of the train split.

    Returns:
        The weights' path, usable as ``file:PATH``.
    """
    from safetensors.torch import save

    from brittle import training  # Lightning takes seconds to import, and nothing else needs it

    folder = Path(output_dir)
    Store(folder)  # refuses a path that is a file
    full = spec.complete("tuning", method)
    base = plan.short("encoders", encoder)
    source = load_encoder(encoder)
    data = load_dataset(dataset, "train")
    count = min(limit or len(data), len(data))
    if count < 1:
        raise UsageError(f"{dataset}: the train split is empty")
    size = min(batch_size, count)
    settings = {"method": str(full), "base": base, "weights": plan.weights_of(base), "data": data.fingerprint, "batch": size, "seed": seed}
    if "checkpoint" in full.settings and not full.settings["checkpoint"]:
        name = f"checkpoint-{files.sha256(json.dumps(settings, sort_keys=True).encode())[:12]}"
        full = spec.Spec(full.name, full.argument, {**full.settings, "checkpoint": str(folder / name)})
    task = classification()
    rule = protocol.Protocol(source.size, crop=True)

    def batches(step: int) -> Batch:
        rows = [data[i] for i in training.shuffled(count, size, seed, step)]
        images = torch.stack([protocol.fit(row._replace(targets={"label": torch.tensor(0)}), task, rule)[0] for row in rows])
        names = [data.ids[i] for i in training.shuffled(count, size, seed, step)]
        return Batch(images, torch.zeros(len(rows), dtype=torch.long), names)

    tuned: Encoder = spec.build("tuning", full, source, batches, seed)
    weights = save({key: value.contiguous() for key, value in tuned.cpu().state_dict().items()})
    path = folder / "encoder.safetensors"
    card = {**settings, "dataset": plan.short("datasets", dataset), "images": count, "sha256": files.sha256(weights)}
    files.write_whole(path, weights)
    files.write_whole(path.with_suffix(".json"), (json.dumps({**card, "made_by": environment()["versions"]}, indent=1) + "\n").encode())
    return path


def read_run(folder: str | Path) -> list[Result]:
    """All results of a run folder."""
    from brittle.store import read_run as read

    return read(folder)


__all__ = ["attack", "execute", "finetune", "load_dataset", "load_encoder", "read_run", "run"]
