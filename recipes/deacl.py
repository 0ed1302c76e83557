"""Makes ``embedded:deacl@1``: DeACL from ``embedded:dino`` on scenes, packed with its card.

    python recipes/deacl.py --output-dir runs/deacl

About 15 minutes on 2 CPU cores; goes on where it was stopped. Expected: on scenes at 8/255, at least half of its clean
accuracy is left under EmbedAttack, where embedded:dino keeps next to none.
"""

import json
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import load_file, save

from brittle.api import finetune
from brittle.core import files
from brittle.encoders.parts.cards import card as card_of

METHOD = "deacl(steps={steps}, batch={batch}, lr=1e-3, warmup=0.09, warmup_from=0.025, precision=bf16-mixed)"


def main(
    output_dir: Annotated[
        Path, typer.Option(help="Where to write encoder.safetensors, deacl.safetensors and deacl.json.")
    ],
    steps: Annotated[int, typer.Option(help="Training steps.")] = 450,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 64,
    seed: Annotated[int, typer.Option(help="Order of the images and random starts.")] = 0,
    data: Annotated[str, typer.Option(help="Data set; its train split is used, its labels are not.")] = "scenes",
) -> None:
    """Tune, then keep the network's weights as fp16 beside a card."""
    began = time.monotonic()
    method = METHOD.format(steps=steps, batch=batch_size)
    path = finetune(method, "embedded:dino", data, output_dir=output_dir, seed=seed)
    tuned = {
        key.removeprefix("network."): value.half()
        for key, value in load_file(path).items()
        if key.startswith("network.")
    }
    weights = save({key: value.contiguous() for key, value in tuned.items()})
    card = {
        "name": "deacl",
        "licence": "Apache-2.0",
        "recipe": f"recipes/deacl.py: {method}",
        "method": "DeACL (Zhang et al. 2022), second stage: -cos(s(x), t(x)) - 2 cos(s(x_adv), s(x)), pooled "
        "feature only",
        "teacher": "embedded:dino",
        "teacher_sha256": card_of(path)["weights"],
        "data": f"{data}, train split, no labels used",
        "seed": seed,
        "steps": steps,
        "batch": batch_size,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "hardware": "CPU, 2 cores" if not torch.cuda.is_available() else torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "sha256": files.sha256(weights),
    }
    files.write_whole(output_dir / "deacl.safetensors", weights)
    files.write_whole(output_dir / "deacl.json", (json.dumps(card, indent=1) + "\n").encode())


if __name__ == "__main__":
    typer.run(main)
