"""Makes ``embedded:deacl``, ``embedded:fare`` and ``embedded:robust`` from ``embedded:dino`` on scenes at one budget,
each packed with its card.

    python recipes/tuned.py robust --output-dir runs/robust

One to two minutes on a GPU, an hour on two CPU cores; goes on where it was stopped. Snapshots on the way make its
history (docs/robust-tuning.md).
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

VIEWS = "warmup=0.06, augment=resized, workers=4"
AS_PUBLISHED = f"steps=500, batch=64, lr=1e-3, {VIEWS}, save_every=50"
# as many passes of an image through the network as the others: one inner step in place of five
ONE_STEP = "attack='pgd(objective=embedding(tokens=cls), steps=1, step=1.0, keep=last)'"
METHODS = {
    "deacl": f"deacl({AS_PUBLISHED})",
    "fare": f"fare({AS_PUBLISHED})",
    "robust": f"fare(steps=2400, batch=32, lr=2e-3, {VIEWS}, save_every=240, eps=12/255, {ONE_STEP})",
}
TEACHER, DATA = "embedded:dino", "scenes(train=16384)"


def main(
    name: Annotated[str, typer.Argument(help=f"Which: {', '.join(METHODS)}.")],
    output_dir: Annotated[Path, typer.Option(help="Where to write encoder.safetensors, NAME.safetensors, NAME.json.")],
    seed: Annotated[int, typer.Option(help="Order of the images, their views, and random starts.")] = 0,
) -> None:
    """Tune, then keep the network's weights as fp16 beside a card."""
    began = time.monotonic()
    path = finetune(METHODS[name], TEACHER, DATA, output_dir=output_dir, seed=seed)
    known = card_of(path)
    tuned = {key.removeprefix("network."): value.half() for key, value in load_file(path).items()}
    weights = save({key: value.contiguous() for key, value in tuned.items()})
    card = {
        "name": name,
        "licence": "Apache-2.0",
        "recipe": f"recipes/tuned.py {name}",
        "method": METHODS[name],
        "teacher": TEACHER,
        "teacher_sha256": known["weights"],
        "data": f"{DATA}, train split, no labels used",
        "seed": seed,
        "steps": known["step"],
        "minutes": round((time.monotonic() - began) / 60, 1),
        "hardware": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "torch": torch.__version__,
        "sha256": files.sha256(weights),
    }
    files.write_whole(output_dir / f"{name}.safetensors", weights)
    files.write_whole(output_dir / f"{name}.json", (json.dumps(card, indent=1) + "\n").encode())


if __name__ == "__main__":
    typer.run(main)
