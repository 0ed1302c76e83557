"""``brittle finetune``: tune an encoder for robustness."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from brittle.core import progress
from brittle.core.spec import Spec, parse
from brittle.core.text import show

Many = list[str] | None


def finetune(
    method: Annotated[str, typer.Argument(help="Tuning method, such as deacl.")],
    encoder: Annotated[str, typer.Option("-e", "--encoder", help="Encoder to start from.")],
    data: Annotated[str, typer.Option("-d", "--data", help="Data set whose train split is used.")],
    set_: Annotated[Many, typer.Option("--set", help="Setting of the method or of the recipe, key=value.")] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Where to write; runs/METHOD if not given.")
    ] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="Settings as published, such as cifar.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="How often each image is seen.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Images a step; 64.")] = None,
    devices: Annotated[int | None, typer.Option("--devices", min=1, help="GPUs that share each batch; 1.")] = None,
    save_every: Annotated[
        int | None, typer.Option("--save-every", min=1, help="Keep a snapshot each so many epochs, or steps.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Order of images and random starts.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Use only so many training images.")] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Tune an encoder for robustness; what comes out is an encoder again, file:DIR/encoder.safetensors."""
    progress.quiet = quiet
    parsed = parse(method)
    extra = parse(f"x({', '.join(set_ or [])})").settings if set_ else {}
    options = {"preset": preset, "epochs": epochs, "batch": batch_size, "devices": devices, "save_every": save_every}
    given = {key: value for key, value in options.items() if value is not None}
    full = Spec(parsed.name, parsed.argument, {**parsed.settings, **given, **extra})
    folder = output_dir or Path("runs") / parsed.name
    from brittle.api import tuning

    path = tuning.finetune(str(full), encoder, data, output_dir=folder, seed=seed, limit=limit)
    show(path)
    progress.say(f"measure it: brittle run -e {shlex.quote(f'file:{path}')} -d {shlex.quote(data)}")
