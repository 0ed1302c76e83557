"""The Python words: load an encoder or a data set, attack and check anything, run a plan, tune an encoder."""

import contextlib
import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brittle import evidence, files, grid, plan, protocol, spec
from brittle.bare import Array, bare, moved
from brittle.errors import CellError, UsageError
from brittle.measure import Machine
from brittle.memory import halving, joined
from brittle.plan import Cell, Finding, Plan, Result
from brittle.progress import say
from brittle.store import Store
from brittle.tally import Tally
from brittle.tasks.classification import classification
from brittle.threat import Norm
from brittle.trace import Trace
from brittle.types import Batch, Dataset, Encoder, frozen

AT_ONCE = 64  # pictures that ``check`` attacks at once


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
    images: Array,
    target: Array | None = None,
    *,
    attack: str = "pgd",
    task: str = "classification",
    eps: float | str = 8 / 255,
    norm: Norm = "linf",
    seed: int = 0,
    ids: Sequence[str] | None = None,
) -> Tensor:
    """Adversarial images for ``images``, within ``eps`` and [0, 1]. Images and target may be whatever ``torch.as_tensor`` takes.

    Args:
        model: any callable from [0,1] images to logits [B,C], logits [B,C,H,W] or metres [B,1,H,W]; or an Encoder, for ``embed``.
        images: [B,3,H,W] in [0,1], float32, or float64 for a model in that; half precision cannot hold the budget.
        target: what the task reads: labels [B] or masks [B,H,W] of any whole-number type, depth [B,1,H,W] in metres of any floating type
            (whole numbers are refused: they are often millimetres); not needed by an embedding attack, or ``representation``.
        attack: spec, such as ``pgd(steps=40)``.
        eps: budget in pixel units, at most 1 in ``linf``; in ``l2`` what is above the square root of 3HW means nothing more.
        ids: names of the images, to which the random starts belong; their positions if None.

    Raises:
        UsageError: images or a target of another kind, a model whose prediction is none of the task's, or any spec that makes no sense.
    """
    given = bare(model, images, target, attack=attack, task=task, eps=eps, norm=norm, ids=ids)
    with frozen(given.model):
        return evidence.attacked(given.model, given.attack, given.batch, given.threat, seed, precision="fp32")


def check(
    model: Callable[[Tensor], Tensor] | Encoder,
    images: Array,
    target: Array | None = None,
    *,
    attack: str = "pgd",
    task: str = "classification",
    eps: float | str = 8 / 255,
    norm: Norm = "linf",
    seed: int = 0,
    full: bool = False,
) -> list[Finding]:
    """What every check says of a model's robustness under an attack, which is run for it; arguments and errors are those of ``attack``. An
    Encoder is scored by how far its feature moves, whatever the task.

    Args:
        full: also the checks that cost as much as the attack.

    Returns:
        Findings, of which one of verdict ``fail`` means that the number is not to be trusted; what cannot be measured, as the
        model predicts nan or all targets are void, gives the one finding that says so.
    """
    given = bare(model, images, target, attack=attack, task=task, eps=eps, norm=norm)
    if isinstance(model, Encoder):
        given = moved(given, model, AT_ONCE)
    elif target is None:
        raise UsageError(f"checks need a target: labels, masks or depth of the {len(given.batch.ids)} images")
    tally = Tally(given.model, given.threat, len(given.batch.ids))

    def made(batch: Batch) -> dict[str, Tensor]:
        trace = Trace()
        found = evidence.attacked(given.model, given.attack, batch, given.threat, seed, precision="fp32", trace=trace)
        return {"images": found, **trace.summary(len(found)), **({} if trace.aim is None else {"aim": trace.aim})}

    try:
        with frozen(given.model):
            for rows in torch.arange(len(given.batch.ids)).split(AT_ONCE):
                batch = given.batch.rows(rows.tolist())
                tally.add(batch, halving(made, joined, batch))
            try:
                scores = tally.scores()
            except CellError as error:  # no target has anything to score
                return [Finding("nonfinite", "fail", None, str(error))]
            return list(evidence.findings(tally.evidence(attack, seed, "fp32", scores, full=full)))
    except CellError as error:
        kind, _, why = str(error).partition(": ")
        name = {"violation": "budget"}.get(kind, kind)
        if name not in spec.names("checks"):
            raise
        return [Finding(name, "fail", None, why)]


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
    cells, notes = grid.grid(made)
    for note in notes:
        say(note, always=True)
    return {plan.identity(cell, precision): cell for cell in cells}


def execute(made: Plan, folder: Path, where: Machine, executor: str = "local") -> list[Result]:
    """Measure what a run folder lacks of a plan, and write plan, environment and reports into it."""
    store = Store(folder)
    cells = cells_of(made, where.precision)
    lacking = set(store.missing(list(cells), made.checks, where.keep))
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
    source.projector = None  # once it is tuned, that is another encoder's
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


__all__ = ["attack", "check", "execute", "finetune", "load_dataset", "load_encoder", "read_run", "run"]
