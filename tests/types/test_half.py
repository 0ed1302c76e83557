"""Bfloat16 inside an attack: attention as products gives what torch's kernel gives, and is used where it may be."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as attention
from torch.utils._python_dispatch import TorchDispatchMode

from brittle.core import components
from brittle.types.half import TOKENS, bfloat16

CPU = torch.device("cpu")


class Seen(TorchDispatchMode):
    """The names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.__name__)
        return func(*args, **(kwargs or {}))

    @property
    def fused(self) -> bool:
        return any("flash" in name for name in self.names)


def given(tokens: int = 65, kind: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (2, tokens, 3, 32)  # as projections leave it: heads after tokens
    return [torch.randn(shape, generator=generator).to(kind).transpose(1, 2).requires_grad_() for _ in range(3)]


def found(parts: list[Tensor], **options: Any) -> list[Tensor]:
    """What attention gives, and the gradients of its squares."""
    query, key, value = parts
    out = attention(query, key, value, **options)
    return [out.detach(), *torch.autograd.grad(out.float().square().sum(), parts)]


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [None, 0.5])
def test_products_are_what_the_kernel_gives(kind: torch.dtype, scale: float | None) -> None:
    parts = given(kind=kind)
    exact = found([part.detach().float().requires_grad_() for part in parts], scale=scale)
    with torch.autocast("cpu", torch.bfloat16):
        kernel = found(parts, scale=scale)
    with bfloat16(CPU):
        ours = found(parts, scale=scale)
    assert [part.dtype for part in ours] == [part.dtype for part in kernel]
    for right, our in zip(exact, ours):
        assert (our.float() - right).norm() < 0.02 * right.norm()


def test_the_gradient_of_an_encoder_is_as_near_to_float32_as_with_the_kernel() -> None:
    encoder = components.build("encoders", "timm:test_vit(pretrained=false, size=96)")
    images = torch.rand(8, 3, 96, 96, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def gradient() -> Tensor:
        return torch.autograd.grad(encoder(images).grid.float().square().sum(), images)[0]

    exact = gradient()
    with torch.autocast("cpu", torch.bfloat16):
        kernel = gradient()
    with bfloat16(CPU):
        ours = gradient()
    alike, theirs = ((exact.sign() == found.sign()).float().mean() for found in (ours, kernel))
    assert not torch.equal(ours, kernel)
    assert alike >= theirs - 0.005
    assert alike > 0.9


@pytest.mark.parametrize("tokens", [2, 65, TOKENS, TOKENS + 1])
def test_few_tokens_do_without_the_kernel(tokens: int) -> None:
    with Seen() as seen, bfloat16(CPU):
        found(given(tokens))
    assert seen.fused == (tokens > TOKENS)


def test_other_ways_of_attention_are_the_library_s() -> None:
    parts = given()
    mask = torch.rand(65, 65, generator=torch.Generator().manual_seed(1)).log()
    for options in ({"attn_mask": mask}, {"is_causal": True}):
        with torch.autocast("cpu", torch.bfloat16):
            right = found(parts, **options)
        with bfloat16(CPU):
            ours = found(parts, **options)
        assert all(torch.equal(our, other) for our, other in zip(ours, right))


def test_compiled_code_is_left_alone() -> None:
    with Seen() as seen, bfloat16(CPU, compiled=True):
        found(given())
    assert seen.fused


def test_float32_is_left_alone() -> None:
    with bfloat16(CPU):
        pass
    with Seen() as seen:
        found(given())
    assert seen.fused
