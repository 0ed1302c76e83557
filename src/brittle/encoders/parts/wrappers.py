"""Networks as Encoders: pooled and grid features of any input size, gradients all the way to the pixels."""

import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.types import Encoder, Features

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and std where the source does not say."""


class PaddedEncoder(Encoder):
    """An encoder of images of any size: one that is not a multiple of ``patch`` is padded at the right and bottom with
    the mean colour, inside, so an attack never touches the padding; ``grid`` has ceil(H / patch) rows and ceil(W /
    patch) columns.

    A subclass gives ``features`` of padded, normalised images; and, where it has layers, ``blocks``, ``spread`` and
    ``prefix``, how many tokens come before the patches.
    """

    prefix: int = 0

    def forward(self, images: Tensor, layer: int | None = None) -> Features:
        height, width = images.shape[-2:]
        padded = nn.functional.pad(self.normalise(images), (0, -width % self.patch, 0, -height % self.patch))
        if layer is not None:
            return self.features_at(padded, layer)
        pooled, grid = self.features(padded)
        return Features(pooled, grid[..., : padded.shape[-2] // self.patch, : padded.shape[-1] // self.patch])

    def features(self, padded: Tensor) -> Features:
        """Features of normalised images whose edges are multiples of ``patch``."""
        raise NotImplementedError

    def blocks(self) -> Sequence[nn.Module]:
        """The layers, first to last; empty where the network has none."""
        return ()

    def spread(self, tokens: Tensor, padded: Tensor) -> Features:
        """What a layer returned, tokens [B, T, D] or a map [B, D, rows, columns], as Features."""
        raise NotImplementedError

    def features_at(self, padded: Tensor, layer: int) -> Features:
        """Features of layer ``layer``, from 0, of normalised, padded images."""
        outputs: list[Any] = []
        handle = self.blocks()[layer].register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        try:
            self.features(padded)
        finally:
            handle.remove()
        return self.spread(outputs[0][0] if isinstance(outputs[0], tuple) else outputs[0], padded)

    def at_layer(self, images: Tensor, index: int) -> Features:
        place = self._place(index)
        # a call, so that it is counted as one
        return super().at_layer(images, index) if place is None else self(images, place)

    def attention_at(self, images: Tensor, index: int) -> Tensor:
        place = self._place(index)
        maps: list[Tensor] = []
        if place is not None:
            with _attending(self.blocks()[place], maps):
                cells = self(images, place).grid[0, 0].numel()
            tokens = self.prefix + cells
            if maps and maps[-1].dim() == 4 and maps[-1].shape == (len(images), maps[-1].shape[1], tokens, tokens):
                return maps[-1]  # not of windows, and not of channels
        return super().attention_at(images, index)

    def _place(self, index: int) -> int | None:
        """``index`` counted from 0, None where there are no layers."""
        count = len(self.blocks())
        if count and not -count <= index < count:
            raise UsageError(f"{self.label} has layers -{count} to {count - 1}, got layer={index}")
        return index % count if count else None


class TimmEncoder(PaddedEncoder):
    """Wraps a timm model that has ``forward_intermediates``.

    ``pooled`` is the final-norm CLS token, or the mean of the grid where there is none; ``grid`` the final-norm patch
    tokens (a ViT) or the last feature map (a CNN).

    Args:
        network: the timm model, without its classifier.
        patch: edge in pixels of a patch, or the total stride of a CNN.
        layer: which of timm's feature levels (the blocks of a ViT, the stages of a CNN), counted as Python does; -1 is
            the last.
    """

    def __init__(
        self,
        network: nn.Module,
        patch: int,
        *,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        about: Mapping[str, Any],
        layer: int = -1,
    ) -> None:
        super().__init__(levels(network)[layer]["num_chs"], patch, size=size, mean=mean, std=std, about=about)
        self.network = network
        self.level = layer % len(levels(network))
        parameters = inspect.signature(network.forward_intermediates).parameters  # type: ignore[arg-type]
        self.prefix = int(getattr(network, "num_prefix_tokens", 0) or 0) if "return_prefix_tokens" in parameters else 0
        self.has_cls = self.prefix > 0 and getattr(network, "cls_token", None) is not None
        self.options: dict[str, Any] = {"return_prefix_tokens": True} if self.prefix else {}
        plain, pooled = getattr(network, "norm", None), getattr(network, "fc_norm", None)
        # the final norm comes after pooling
        self.late_norm = isinstance(plain, nn.Identity) and isinstance(pooled, nn.Module)

    def blocks(self) -> Sequence[nn.Module]:
        named = dict(self.network.named_modules())  # an Identity, without attention, where a model's own name is wrong
        return [
            named.get(level.get("module", "none"), nn.Identity()) for level in levels(self.network)[: self.level + 1]
        ]

    def features(self, padded: Tensor) -> Features:
        grid, prefix = self._split(padded, self.level, norm=True)
        if self.late_norm:
            norm: Any = self.network.fc_norm
            grid = norm(grid.movedim(1, -1)).movedim(-1, 1)
            prefix = norm(prefix) if prefix is not None else None
        return self._joined(grid, prefix)

    def features_at(self, padded: Tensor, layer: int) -> Features:
        return self._joined(*self._split(padded, layer, norm=False, stop_early=True))

    def _joined(self, grid: Tensor, prefix: Tensor | None) -> Features:
        return Features(prefix[:, 0] if prefix is not None and self.has_cls else grid.mean((2, 3)), grid)

    def _split(self, padded: Tensor, level: int, **how: bool) -> tuple[Tensor, Tensor | None]:
        """Grid, and the tokens before it if there are any, of one of timm's levels."""
        try:
            (last,) = self.network.forward_intermediates(  # type: ignore[operator]
                padded, indices=[level], intermediates_only=True, **how, **self.options
            )
        except (AssertionError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "must match the size" not in str(error):
                raise
            edges = "x".join(str(edge) for edge in padded.shape[-2:])
            why = " ".join(str(error).split())[:120]
            raise UsageError(
                f"{self.about.get('source')} takes no images of {edges} ({why}); make it for them with size=N, or "
                "choose another"
            ) from None
        return last if self.prefix else (last, None)


class _Attention(TorchFunctionMode):
    """Records the attention probabilities computed while it is ``on``, however a network computes them: by a plain
    softmax, torch's multi-head attention, or a fused kernel that never stores them, for which they are computed again
    from the same q, k and mask."""

    def __init__(self, maps: list[Tensor]) -> None:
        super().__init__()
        self.maps, self.on = maps, False

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.on and func is nn.functional.multi_head_attention_forward:
            output, probabilities = func(*args, **{**kwargs, "need_weights": True, "average_attn_weights": False})
            self.maps.append(probabilities)
            return output, None
        if self.on and func is nn.functional.scaled_dot_product_attention:
            self.maps.append(_probabilities(*args, **kwargs))
        output = func(*args, **kwargs)
        if self.on and func in (Tensor.softmax, torch.softmax, nn.functional.softmax):
            self.maps.append(output)
        return output


@contextmanager
def _attending(block: nn.Module, maps: list[Tensor]) -> Generator[None]:
    """Append to ``maps`` every attention probability [B, heads, T, T] that ``block`` computes inside."""
    watch = _Attention(maps)
    handles = (
        block.register_forward_pre_hook(lambda *_: setattr(watch, "on", True)),
        block.register_forward_hook(lambda *_: setattr(watch, "on", False), always_call=True),
    )
    try:
        with watch:
            yield
    finally:
        for handle in handles:
            handle.remove()


def _probabilities(
    query: Tensor, key: Tensor, _value: Tensor, attn_mask: Tensor | None = None, **options: Any
) -> Tensor:
    """softmax(q k^T), of the arguments of torch's fused attention."""
    scale = options.get("scale") or query.shape[-1] ** -0.5
    weights = query * scale @ key.transpose(-2, -1)
    if attn_mask is not None:
        weights = weights.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else weights + attn_mask
    return weights.softmax(-1)


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
