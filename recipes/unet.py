"""Makes ``model:embedded:unet``: a small U-Net trained on the masks of scenes, packed with its card.

    python recipes/unet.py --output-dir runs/unet

45 minutes on one CPU core beside other work; goes on where it was stopped. Expected: 99 % of the pixels of the val
split are right.
"""

import json
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import save
from torch import Tensor

import brittle
from brittle.core import files
from brittle.models.parts.unet import MEAN, STD, UNet
from brittle.types import Dataset, as_float
from brittle.types.target import VOID


def main(
    output_dir: Annotated[Path, typer.Option(help="Where to write unet.safetensors and unet.json.")],
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 32,
    seed: Annotated[int, typer.Option(help="Of the weights and the order of the images.")] = 0,
    data: Annotated[str, typer.Option(help="Data set with masks; its train split is used.")] = "scenes",
) -> None:
    """Train, then keep the network's weights as fp16 beside a card."""
    train, test = (brittle.load_dataset(data, split) for split in ("train", "val"))
    names = list(train.classes["mask"])
    images, masks = _held(train)
    torch.manual_seed(seed)
    network = UNet(len(names))
    total = epochs * (len(images) // batch_size)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=total)
    output_dir.mkdir(parents=True, exist_ok=True)
    kept, first, spent = output_dir / "checkpoint.pt", 0, 0.0
    if kept.is_file():
        state = torch.load(kept, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first, spent = state["epoch"], state["seconds"]
    for epoch in range(first, epochs):
        began, losses = time.monotonic(), 0.0
        draw = torch.Generator().manual_seed(1000 * seed + epoch)  # so that a stopped run goes on as it would have
        order = torch.randperm(len(images), generator=draw)[: total // epochs * batch_size].split(batch_size)
        for rows in order:
            flipped = torch.rand(len(rows), generator=draw) < 0.5
            seen, truth = _mirrored(images[rows], flipped), _mirrored(masks[rows], flipped)
            loss = _loss(network.train()(_normalised(seen)), truth)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses += float(loss.detach())
        spent += time.monotonic() - began
        parts = {
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
            "schedule": schedule.state_dict(),
        }
        torch.save({**parts, "epoch": epoch + 1, "seconds": spent}, kept)
        typer.echo(f"epoch {epoch + 1} of {epochs}: loss {losses / len(order):.4f}, {spent / 60:.1f} minutes")
    weights = save({key: value.half().contiguous() for key, value in network.state_dict().items()})
    network.load_state_dict({key: value.half().float() for key, value in network.state_dict().items()})
    card = {
        "name": "unet",
        "licence": "Apache-2.0",
        "recipe": f"recipes/unet.py: epochs={epochs}, batch={batch_size}, AdamW, OneCycle to 3e-3, mirrored images",
        "method": "cross entropy of each pixel; nothing is done for robustness",
        "data": f"{data}, train split, {len(images)} masks",
        "classes": names,
        "seed": seed,
        "pixel accuracy on val": round(_accuracy(network.eval(), test), 4),
        "minutes": round(spent / 60, 1),
        "hardware": f"CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "sha256": files.sha256(weights),
    }
    (output_dir / "unet.safetensors").write_bytes(weights)
    (output_dir / "unet.json").write_text(json.dumps(card, indent=1) + "\n")
    typer.echo(json.dumps(card, indent=1))


def _held(data: Dataset) -> tuple[Tensor, Tensor]:
    """All images [N,3,H,W] in [0,1] and masks [N,H,W] of a split."""
    samples = [data[place] for place in range(len(data))]
    return torch.stack([as_float(each.image) for each in samples]), torch.stack(
        [each.targets["mask"] for each in samples]
    )


def _normalised(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (MEAN, STD))
    return (images - mean) / std


def _mirrored(things: Tensor, which: Tensor) -> Tensor:
    """Those rows mirrored of which ``which`` says so."""
    return torch.where(which.view(-1, *[1] * (things.dim() - 1)), things.flip(-1), things)


def _loss(logits: Tensor, masks: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits, masks, ignore_index=VOID)


@torch.no_grad()
def _accuracy(network: UNet, data: Dataset) -> float:
    """The share of pixels that are right."""
    images, masks = _held(data)
    right = [network(_normalised(part)).argmax(1) == truth for part, truth in zip(images.split(64), masks.split(64))]
    return float(torch.cat(right).float().mean())


if __name__ == "__main__":
    typer.run(main)
