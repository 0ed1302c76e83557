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
    method: Annotated[str, typer.Argument(metavar="METHOD", help="Tuning method, such as deacl; brittle list tuning.")],
    encoder: Annotated[str, typer.Option("-e", "--encoder", metavar="ENC", help="Encoder to start from.")],
    data: Annotated[str, typer.Option("-d", "--data", metavar="DATA", help="Data set whose train split is used.")],
    set_: Annotated[
        Many, typer.Option("--set", metavar="KEY=VALUE", help="Setting of the method or of the recipe.")
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", metavar="DIR", help="Where to write.", show_default="runs/METHOD")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", metavar="NAME", help="Settings as published; brittle info METHOD lists them."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", min=1, metavar="N", help="How often each image is seen.", show_default="0, for 1,000 steps"
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, metavar="N", help="Images a step.", show_default="64")
    ] = None,
    devices: Annotated[
        int | None, typer.Option("--devices", min=1, metavar="N", help="GPUs that share each batch.", show_default="1")
    ] = None,
    save_every: Annotated[
        int | None,
        typer.Option("--save-every", min=1, metavar="N", help="Keep a snapshot each so many epochs, or steps."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Order of images and random starts.")] = 0,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, metavar="N", help="Use only so many training images.", show_default="all"),
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Tune an encoder for robustness. What comes out is an encoder again, file:DIR/encoder.safetensors.

    \b
    Examples:
      brittle finetune deacl -e embedded:dino -d scenes --set steps=200
      brittle finetune fare -e embedded:dino -d scenes --preset fast
      brittle finetune trades -e timm:resnet18 -d cifar10:DIR --epochs 10 \\
        --devices 2
    """
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
