"""State dicts with random values under the names of keys that the authors of published checkpoints use."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

State = dict[str, Tensor]


def random(key: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    return 1 + 0.1 * noise if "norm" in key and key.endswith("weight") else 0.05 * noise


def vit(width: int, patch: int, side: int, depth: int = 12, seed: int = 0) -> State:
    """A ViT as DINO, MAE and MoCo v3 name its keys; ``side``: rows of the grid of its position embeddings."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, side * side + 1, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for block in range(depth):
        parts = {"norm1": (), "attn.qkv": (3 * width, width), "attn.proj": (width, width), "norm2": ()}
        parts |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
        for name, shape in parts.items():
            shapes[f"blocks.{block}.{name}.weight"] = shape or (width,)
            shapes[f"blocks.{block}.{name}.bias"] = shape[:1] or (width,)
    generator = torch.Generator().manual_seed(seed)
    return {key: random(key, shape, generator) for key, shape in shapes.items()}


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and plausible running statistics, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            value.copy_(
                0.5 + torch.rand(value.shape, generator=generator) if key.endswith("var") or value.dim() == 1 else value
            )
    return network.eval()


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {prefix + key: value for key, value in state.items()}


def saved(folder: Path, name: str, content: object) -> str:
    """The spec of a checkpoint saved in a folder."""
    torch.save(content, folder / name)
    return f"file:{folder / name}"
