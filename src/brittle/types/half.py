"""Bfloat16 for the gradients of attacks: autocast, and on a CPU attention in the way that is quicker there."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

TOKENS = 320  # of images up to 224 at patches of 14: of more, the probabilities of all pairs take too much memory


@contextmanager
def bfloat16(device: torch.device, *, compiled: bool = False) -> Generator[None]:
    """Inside, what autocast knows is computed in bfloat16; ``compiled`` code has its own way with attention."""
    with torch.autocast(device.type, torch.bfloat16):
        if device.type != "cpu" or compiled:
            yield
        else:
            with _Products():
                yield


class _Products(TorchFunctionMode):
    """Attention over few tokens as two products and a softmax: torch's fused kernel in bfloat16 takes 2.5 to 6 times as
    long on a CPU that has instructions for bfloat16 products."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention and _plain(*args, **kwargs):
            return _attention(*args, **kwargs)
        return func(*args, **kwargs)


def _plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> bool:
    """Whether there is nothing but queries, keys and values, of few tokens."""
    few = max(query.shape[-2], key.shape[-2]) <= TOKENS
    return few and attn_mask is None and not (dropout_p or is_causal or enable_gqa)


def _attention(
    query: Tensor, key: Tensor, value: Tensor, *_none: object, scale: float | None = None, **_no: object
) -> Tensor:
    scaled = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    return (scaled @ key.transpose(-2, -1)).softmax(-1).to(value.dtype) @ value
