"""Networks as Encoders: pooled and grid features of any input size, gradients all the way to the pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.encoders.parts.attention import attending
from brittle.types import Encoder, Features

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and std where the source does not say."""
MOST_PARAMETERS = 20_000_000_000
MOST_LAYERS = 1000
Size = Annotated[int, Field(ge=0, le=8192)]
"""Edge of the images that an encoder is used at; bounded, since some networks are made for it."""
Pooled = Literal["tokens", "native"]
"""What ``pooled`` is: the CLS token (the mean of the grid where there is none), or what the published model pools."""


@dataclass
class Asked:
    """The layers asked for, from 0, whether after the final norm, and what a pass found of them."""

    places: Sequence[int]
    norm: bool = False
    found: list[Features] = field(default_factory=list)


class PaddedEncoder(Encoder):
    """An encoder of images of any size. One of another than the native size that is not a multiple of ``patch`` is
    padded at the right and bottom with the mean colour, inside, so an attack never touches the padding; ``grid`` has
    ceil(H / patch) rows and ceil(W / patch) columns. One of the native size goes in as the published model takes it,
    which may pass over the last pixels, and ``grid`` is the published model's.

    A subclass gives ``features`` of padded, normalised images; and, where it has layers, ``blocks``, ``spread``,
    ``final_norm`` and ``prefix``, how many tokens come before the patches.

    Args:
        native: (H, W) of the images that the published model takes; (0, 0) where every size is as good.
    """

    prefix: int = 0

    def __init__(self, dim: int, patch: int, *, native: tuple[int, int] = (0, 0), **facts: Any) -> None:
        super().__init__(dim, patch, **facts)
        self.native = native

    def forward(self, images: Tensor, asked: Asked | None = None) -> Features:
        height, width = images.shape[-2:]
        native = (height, width) == self.native
        padded = self.normalise(images)
        if not native:
            padded = nn.functional.pad(padded, (0, -width % self.patch, 0, -height % self.patch))
        if asked:
            asked.found = self.features_at(padded, asked.places, asked.norm)
            return asked.found[-1]
        found = self.features(padded)
        rows, columns = padded.shape[-2] // self.patch, padded.shape[-1] // self.patch
        return found if native else found._replace(grid=found.grid[..., :rows, :columns])

    def features(self, padded: Tensor) -> Features:
        """Features of normalised images whose edges are multiples of ``patch``, or native."""
        raise NotImplementedError

    def blocks(self) -> Sequence[nn.Module]:
        """The layers, first to last; empty where the network has none."""
        return ()

    def spread(self, tokens: Tensor, padded: Tensor) -> Features:
        """What a layer returned, tokens [B, T, D] or a map [B, D, rows, columns], as Features."""
        raise NotImplementedError

    def final_norm(self) -> nn.Module | None:
        """The norm that the last layer's tokens go through; None where there is none."""
        return None

    def features_at(self, padded: Tensor, places: Sequence[int], norm: bool) -> list[Features]:
        """Features of layers, from 0, of normalised, padded images; with ``norm`` after the final one."""
        outputs: dict[nn.Module, Any] = {}
        blocks = [self.blocks()[place] for place in places]
        handles = [
            block.register_forward_hook(lambda block, _, out: outputs.setdefault(block, out)) for block in blocks
        ]
        try:
            self.features(padded)
        finally:
            for handle in handles:
                handle.remove()
        tokens = [outputs[block][0] if isinstance(outputs[block], tuple) else outputs[block] for block in blocks]
        last = self.final_norm()
        return [self.spread(last(each) if norm and last else each, padded) for each in tokens]

    @property
    def depth(self) -> int:
        return len(self.blocks())

    def at_layers(self, images: Tensor, indices: Sequence[int], *, norm: bool = False) -> list[Features]:
        places = [place for place in map(self._place, indices) if place is not None]
        if not places:
            return super().at_layers(images, indices, norm=norm)
        if norm and self.final_norm() is None:
            raise UsageError(f"{self.label} has no final norm for its layers to go through; choose a transformer")
        asked = Asked(places, norm)
        self(images, asked)  # a call, so that it is counted as one
        return asked.found

    def attention_at(self, images: Tensor, index: int) -> Tensor:
        place = self._place(index)
        maps: list[Tensor] = []
        if place is not None:
            with attending(self.blocks()[place], maps):
                cells = self(images, Asked([place])).grid[0, 0].numel()
            tokens = self.prefix + cells
            if maps and maps[-1].dim() == 4 and maps[-1].shape == (len(images), maps[-1].shape[1], tokens, tokens):
                return maps[-1]  # not of windows, and not of channels
        return super().attention_at(images, index)

    def pooled_by_itself(self, pooled: Tensor | None) -> Tensor:
        """What the published model pooled, as [B, D].

        Raises:
            UsageError: it pools nothing, or to another width than the grid's.
        """
        width = 0 if pooled is None else pooled.flatten(1).shape[1]
        if pooled is None or width != self.dim:
            why = f"pools to {width} numbers, its grid has {self.dim}" if width else "has no pooling of its own"
            raise UsageError(f"{self.label} {why}; leave pooled=native out")
        return pooled.flatten(1)

    def _place(self, index: int) -> int | None:
        """``index`` counted from 0, None where there are no layers."""
        count = self.depth
        if count and not -count <= index < count:
            raise UsageError(f"{self.label} has layers -{count} to {count - 1}, got layer={index}")
        return index % count if count else None


def levels(network: nn.Module) -> list[dict[str, Any]]:
    """timm's feature levels of a model: ``num_chs`` and ``reduction`` of each; of a model built by hand, at least the
    last."""
    info: Any = getattr(network, "feature_info", None)
    return list(getattr(info, "info", info) or [])


def spatial(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Patch tokens [B, rows * columns, D] as a grid [B, D, rows, columns]."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, rows, columns)


def resampled(positions: Tensor, rows: int, columns: int, *, offset: float = 0.0, antialias: bool = True) -> Tensor:
    """Position embeddings of a square grid [1, N, D] for ``rows`` x ``columns`` patches [1, rows * columns, D],
    bicubic.

    Args:
        offset: added to rows and columns in the scale (not in the size) of the interpolation, as DINO's and DINOv2's
            authors do (0.1); 0 means the scale is that of the sizes.
        antialias: whether a smaller grid is low-pass filtered.
    """
    side = round(positions.shape[1] ** 0.5)
    if rows == columns == side:
        return positions
    square = spatial(positions.float(), side, side)
    how: dict[str, Any] = {"mode": "bicubic", "antialias": antialias}
    if offset:
        places = nn.functional.interpolate(
            square, scale_factor=((rows + offset) / side, (columns + offset) / side), **how
        )
    else:
        places = nn.functional.interpolate(square, size=(rows, columns), **how)
    if places.shape[-2:] != (rows, columns):  # the authors' scale falls short only where rounding of floats does
        raise UsageError(
            f"position embeddings of {side}x{side} cannot be brought to {rows}x{columns}; choose another image size"
        )
    return places.flatten(2).transpose(1, 2).to(positions.dtype)


def bounded(network: nn.Module, name: str) -> nn.Module:
    """A network whose size is within bounds, made on the meta device; so that a configuration which came with weights
    cannot fill the memory.

    Raises:
        UsageError: it has more parameters than any encoder.
    """
    count = sum(p.numel() for p in network.parameters())
    if count > MOST_PARAMETERS:
        raise UsageError(f"{name} asks for {count:.1e} parameters; at most {MOST_PARAMETERS:.0e} are taken")
    return network


def sha256_of_weights(network: nn.Module) -> str:
    """sha256 over the names and values of all parameters and buffers that are saved."""
    parts = (
        key.encode()
        + str(value.dtype).encode()
        + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        if value.numel()
        else key.encode()
        for key, value in sorted(network.state_dict().items())
    )
    return files.sha256(b"".join(files.sha256(part).encode() for part in parts))


def described(network: nn.Module, *, sha256: str, licence: str, source: str, fingerprint: str = "") -> dict[str, Any]:
    """What a result says about an encoder's weights; ``fingerprint`` is that of the weights as they were read (default:
    the sha256)."""
    parameters = sum(p.numel() for p in network.parameters())
    return {
        "sha256": sha256,
        "licence": licence,
        "parameters": parameters,
        "source": source,
        "fingerprint": fingerprint or sha256,
    }
