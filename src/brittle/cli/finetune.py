"""``brittle finetune``: tune an encoder for robustness."""

from pathlib import Path
from typing import Annotated

import typer

from brittle.core import components, progress
from brittle.core.spec import Spec, parse
from brittle.core.text import show

Many = list[str] | None


def finetune(
    method: Annotated[str, typer.Argument(help="Tuning method, such as deacl.")],
    encoder: Annotated[str, typer.Option("-e", "--encoder", help="Encoder to start from.")],
    data: Annotated[str, typer.Option("-d", "--data", help="Data set whose train split is used.")],
    set_: Annotated[Many, typer.Option("--set", help="Setting of the method, key=value.")] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Where to write; runs/METHOD if not given.")
    ] = None,
    devices: Annotated[int, typer.Option("--devices", min=1, help="How many GPUs.")] = 1,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images a step.")] = 64,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Order of images and random starts.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Use only so many training images.")] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Tune an encoder for robustness; what comes out is an encoder again, file:DIR/encoder.safetensors."""
    progress.quiet = quiet
    parsed = parse(method)
    extra = parse(f"x({', '.join(set_ or [])})").settings if set_ else {}
    settings = {**parsed.settings, **extra, **({"devices": devices} if devices > 1 else {})}
    full = components.complete("tuning", Spec(parsed.name, parsed.argument, settings))
    folder = output_dir or Path("runs") / parsed.name
    from brittle.api import tuning

    show(tuning.finetune(str(full), encoder, data, output_dir=folder, batch_size=batch_size, seed=seed, limit=limit))
