"""Attention probabilities of a network that does not return them."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


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
def attending(block: nn.Module, maps: list[Tensor]) -> Generator[None]:
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
