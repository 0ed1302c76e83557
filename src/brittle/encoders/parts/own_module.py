"""A user's own module as an encoder: the outputs it may return, and the sizes measured from it."""

from typing import Any

import torch
from torch import Tensor, nn

from brittle.core.errors import UsageError
from brittle.encoders.parts.wrappers import PaddedEncoder, described
from brittle.types import Encoder, Features

UNIT = ((0.0,) * 3, (1.0,) * 3)


class OwnEncoder(PaddedEncoder):
    """A user's own module: it takes [0,1] images, or, where it has ``mean`` and ``std`` as tuples of 3 numbers,
    normalised ones.

    What it may return: Features or (pooled [B,D], grid [B,D,rows,columns]); pooled alone (``grid`` repeats it); grid
    alone (``pooled`` is its mean).
    """

    def __init__(self, module: nn.Module, dim: int, patch: int, **facts: Any) -> None:
        super().__init__(dim, patch, **facts)
        self.module = module

    def features(self, padded: Tensor) -> Features:
        pooled, grid = pooled_and_grid(self.module(padded), self.about.get("source", "py:"))
        if grid is None:
            rows, columns = padded.shape[-2] // self.patch, padded.shape[-1] // self.patch
            grid = pooled[:, :, None, None].expand(-1, -1, rows, columns)
        return Features(pooled, grid)


def as_encoder(
    module: nn.Module, source: str, *, sha256: str, fingerprint: str, size: int = 0, patch: int = 0
) -> Encoder:
    """A module as an encoder, in evaluation mode; an Encoder is returned as it is.

    Args:
        source: its name in results and messages.
        sha256, fingerprint: of its weights; and of the weights and everything else that decides a feature.
        size: edge of the images it is used at; 0 for the module's ``size``, else 224.
        patch: edge in pixels of a cell of its grid; 0 for the module's ``patch``, else measured.

    Raises:
        UsageError: its output is none of the known kinds.
    """
    own: Any = module
    licence = str(getattr(own, "licence", "unknown"))
    about = described(module, sha256=sha256, licence=licence, source=source, fingerprint=fingerprint)
    if isinstance(module, Encoder):
        module.about = about
        return module.eval()
    size = size or int(getattr(own, "size", 0) or 224)
    colours = [getattr(own, name, None) for name in ("mean", "std")]
    normalised = all(isinstance(colour, (tuple, list)) and len(colour) == 3 for colour in colours)
    mean, std = colours if normalised else UNIT
    dim, cells = _measured(module.eval(), size, source)
    patch = patch or int(getattr(own, "patch", 0) or 0) or -(-size // cells)
    facts: dict[str, Any] = {"size": size, "native": (size, size), "mean": mean, "std": std, "about": about}
    return OwnEncoder(module, dim, patch, **facts).eval()


def _measured(module: nn.Module, size: int, source: str) -> tuple[int, int]:
    """Width of the features and rows of the grid (1 where there is none) for an image of ``size``."""
    with torch.no_grad():
        pooled, grid = pooled_and_grid(module(torch.zeros(1, 3, size, size)), source)
    return pooled.shape[1], grid.shape[2] if grid is not None else 1


def pooled_and_grid(output: Any, source: str) -> tuple[Tensor, Tensor | None]:
    """Pooled and grid (or None) of what a module returned.

    Raises:
        UsageError: it is neither, with its type or its shape.
    """
    parts: Any = output if isinstance(output, (tuple, list)) else (output,)
    shapes = [tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in parts]
    ranks = [part.dim() if isinstance(part, Tensor) else 0 for part in parts]
    if ranks == [2, 4] and parts[0].shape[1] == parts[1].shape[1]:
        return parts[0], parts[1]
    if ranks == [2]:
        return parts[0], None
    if ranks == [4]:
        return parts[0].mean((2, 3)), parts[0]
    raise UsageError(
        f"{source} returned {shapes}; it must be pooled [B,D] and grid [B,D,rows,columns], or one of them, of one "
        "width D"
    )
