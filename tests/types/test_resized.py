"""Maps brought to another size, and heads whose steps are put together, against torch's layers one after another."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from brittle.tasks.depth import BINS, DepthHead
from brittle.tasks.segmentation import SegmentationHead
from brittle.types import Features, resized

SIZES = [
    ((8, 8), (64, 64)),
    ((7, 9), (33, 50)),
    ((1, 1), (5, 4)),
    ((64, 3), (70, 3)),
    ((8, 8), (8, 20)),
    ((65, 4), (130, 8)),  # torch's own from here on
    ((8, 8), (3, 4)),
    ((8, 8), (4, 20)),
]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def torchs(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(maps, size=size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize(("edges", "size"), SIZES)
def test_maps_and_their_gradients_are_torchs(edges: tuple[int, int], size: tuple[int, int]) -> None:
    maps, weight = drawn(2, 3, *edges).requires_grad_(), drawn(2, 3, *size, seed=1)
    mine, theirs = resized(maps, size), torchs(maps, size)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
    found, wanted = (torch.autograd.grad((each * weight).sum(), maps)[0] for each in (mine, theirs))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    stacked = torch.vmap(lambda one: resized(one, size))(maps.detach()[None].repeat(4, 1, 1, 1, 1))
    torch.testing.assert_close(stacked, theirs.detach().expand_as(stacked), rtol=0, atol=1e-12)


def test_a_map_in_half_precision_is_not_rounded_once_more() -> None:
    maps = drawn(1, 2, 8, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = resized(maps, (37, 37))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), torchs(maps.double(), (37, 37)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_a_segmentation_head_is_its_norm_then_its_convolution(training: bool) -> None:
    head = SegmentationHead(6, 4).double().train(training)
    for i, tensor in enumerate([*head.parameters(), head.norm.running_mean, head.norm.running_var]):
        assert tensor is not None
        tensor.data = drawn(*tensor.shape, seed=i).abs() + 0.1
    features = Features(drawn(5, 6), drawn(5, 6, 3, 4).requires_grad_())
    wanted = torchs(head.classify(head.norm(features.grid)), (12, 16))
    found = head(features, (12, 16))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    weight = drawn(*wanted.shape)
    slopes = [torch.autograd.grad((each * weight).sum(), features.grid)[0] for each in (found, wanted)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)


def test_a_depth_head_is_the_expectation_over_its_bins() -> None:
    head = DepthHead(6, 0.5, 10.0).double()
    features = Features(drawn(5, 6), drawn(5, 6, 3, 4))
    pooled = features.pooled[..., None, None].expand_as(features.grid)
    weights = head.weigh(torch.cat([features.grid, pooled], 1)).relu() + 0.1
    bins = torch.linspace(0.5, 10.0, BINS, dtype=torch.float32).double().view(1, -1, 1, 1)
    sums = [torchs(each.sum(1, keepdim=True), (12, 16)) for each in (weights * bins, weights)]
    wanted = torchs(sums[0] / sums[1], (24, 32))
    torch.testing.assert_close(head(features, (24, 32)), wanted, rtol=0, atol=1e-12)
    head, half = head.float(), Features(*(part.float() for part in features))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = head(half, (24, 32))  # only its convolution is in half precision, not its sums
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=0.02)
