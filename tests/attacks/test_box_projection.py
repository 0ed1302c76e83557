"""The projection onto a hyperplane within the box: scipy's optimum on small cases, its optimality conditions on large
ones, never NaN."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brittle.attacks.parts.box_projection import project
from optimum import DUAL, ORDER, smallest

few = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31)
every_norm = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])


def draw(
    seed: int, count: int, side: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, torch.Generator]:
    """Images with exact zeros and ones among their values, and normals with exact zeros, ties and both signs."""
    generator = torch.Generator().manual_seed(seed)
    images = (torch.rand(count, 3, side, side, generator=generator, dtype=dtype) * 1.4 - 0.2).clamp(0, 1)
    normal = (torch.randn(images.shape, generator=generator, dtype=dtype) * 4).round() / 4
    return images, normal, generator


def reach(images: Tensor, normal: Tensor, sign: Tensor) -> Tensor:
    """All that can be gained along the normal in the direction of ``sign`` [B], at the box's corner."""
    room = torch.where(normal * sign.view(-1, 1, 1, 1) > 0, 1 - images, images)
    return sign * (normal.abs() * room).flatten(1).sum(1)


def size(change: Tensor, norm: str) -> Tensor:
    return change.flatten(1).norm(ORDER[norm], dim=1)


def gained(change: Tensor, normal: Tensor) -> Tensor:
    return (change * normal).flatten(1).sum(1)


@every_norm
@few
@given(seeds, st.floats(-1.3, 1.3))
def test_it_is_scipys_optimum(norm, seed, share) -> None:
    images, normal, _ = draw(seed, 2, 2)
    gap = abs(share) * reach(images, normal, torch.full((2,), 1.0 if share > 0 else -1.0, dtype=torch.float64))
    change = project(images, normal, gap, norm)
    for i in range(2):
        best = smallest(images[i], normal[i], gap[i].item(), norm)
        if abs(share) > 1 + 1e-9 and gap[i] != 0:
            assert best is None
            continue
        if best is None:  # within the solver's tolerance of the corner
            assert abs(share) > 1 - 1e-6
            continue
        assert gained(change, normal)[i].item() == pytest.approx(gap[i].item(), abs=1e-9)
        least = np.linalg.norm(best, ORDER[norm])
        assert size(change, norm)[i].item() == pytest.approx(least, rel=1e-5, abs=1e-7)
        if norm == "l2":  # whose optimum is one point
            np.testing.assert_allclose(change[i].flatten(), best, atol=1e-5)


@every_norm
@few
@given(seeds, st.floats(1.0001, 50), st.sampled_from([1.0, -1.0]))
def test_out_of_reach_it_is_the_nearest_corner(norm, seed, share, sign) -> None:
    images, normal, _ = draw(seed, 3, 2)
    most = reach(images, normal, torch.full((3,), sign, dtype=torch.float64))
    change = project(images, normal, share * most, norm)
    torch.testing.assert_close(gained(change, normal), most, rtol=1e-12, atol=1e-12)
    corner = torch.where(normal * sign > 0, 1.0, 0.0).to(images)
    torch.testing.assert_close(
        images + change, torch.where((normal == 0) | (most == 0).view(-1, 1, 1, 1), images, corner)
    )


@every_norm
@few
@given(seeds, st.floats(0.01, 0.99), st.sampled_from([3, 20]))
def test_large_ones_meet_the_conditions_of_the_optimum(norm, seed, share, side) -> None:
    """Convex, so these suffice: the gap is closed, the box kept, and every value has moved at its speed for one and the
    same time or has met the box before; in l1 the steeper ones have met it, and the flatter ones not moved."""
    images, normal, generator = draw(seed, 4, side)
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    gap = share * reach(images, normal, sign)
    change = project(images, normal, gap, norm)
    torch.testing.assert_close(gained(change, normal), gap, rtol=1e-10, atol=1e-12)
    assert (images + change).min() >= -1e-15
    assert (images + change).max() <= 1 + 1e-15
    slope = normal * sign.view(-1, 1, 1, 1)
    room = torch.where(slope > 0, 1 - images, images)
    assert (change * slope >= 0).all()
    assert (change[normal == 0] == 0).all()
    if norm == "l1":
        for moved, most, pull in zip(change.abs().flatten(1), room.flatten(1), slope.abs().flatten(1)):
            last = pull[moved > 0].min()
            torch.testing.assert_close(moved[pull > last], most[pull > last])
            assert (moved[pull < last] == 0).all()
        return
    time = change.abs() / (torch.ones_like(slope) if norm == "linf" else slope.abs())
    for i in range(4):
        used = normal[i] != 0
        free = used & (change[i].abs() < room[i] - 1e-12)
        common = time[i][free]
        assert common.numel() > 0
        torch.testing.assert_close(common, common[0].expand_as(common), rtol=1e-9, atol=1e-12)
        assert (time[i][used & ~free] <= common[0] + 1e-9).all()


@every_norm
def test_away_from_the_box_it_is_the_closed_form(norm) -> None:
    images = torch.full((2, 3, 4, 4), 0.5, dtype=torch.float64)
    _, normal, _ = draw(0, 2, 4)
    gap = torch.tensor([0.3, -0.2], dtype=torch.float64)
    steepness = normal.flatten(1).norm(DUAL[norm], dim=1)
    torch.testing.assert_close(size(project(images, normal, gap, norm), norm), gap.abs() / steepness)


@every_norm
def test_in_float32_a_large_image_reaches_the_plane_and_keeps_the_box(norm) -> None:
    images, normal, _ = draw(1, 3, 64, torch.float32)
    for share in (1e-3, 0.1, 0.9):
        gap = share * reach(images, normal, torch.tensor([1.0, -1.0, 1.0]))
        change = project(images, normal, gap, norm)
        assert change.dtype == torch.float32
        torch.testing.assert_close(gained(change.double(), normal.double()), gap.double(), rtol=2e-5, atol=0)
        exact = project(images.double(), normal.double(), gap.double(), norm)
        near = 1e-3 if norm == "l1" else 2e-5  # in l1 all that is lost falls on one value
        torch.testing.assert_close(change.double(), exact, rtol=0, atol=near)
        assert (images + change).min() >= -1e-6
        assert (images + change).max() <= 1 + 1e-6


@every_norm
@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-12, 1e12, 1e30])
def test_the_normals_length_does_not_matter(norm, scale) -> None:
    images, _, _ = draw(2, 2, 2, torch.float32)
    normal = torch.where(torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) < 0.5, 1.0, -0.5)
    gap = torch.tensor([0.7, -0.4])
    kept, kept_gap = (normal * scale).double() / scale, (gap * scale).double() / scale  # what float32 keeps of them
    wanted = project(images.double(), kept, kept_gap, norm).float()
    torch.testing.assert_close(project(images, normal * scale, gap * scale, norm), wanted, rtol=1e-5, atol=1e-6)


@every_norm
@pytest.mark.parametrize("gap", [0.0, 1.0, -1.0, 1e38, 1e-38])
def test_nothing_to_climb_or_nothing_to_gain_moves_nothing(norm, gap) -> None:
    images, normal, _ = draw(3, 2, 2, torch.float32)
    still = project(images, torch.zeros_like(images), torch.full((2,), gap), norm)
    assert torch.equal(still, torch.zeros_like(images))
    assert torch.equal(project(images, normal, torch.zeros(2), norm), torch.zeros_like(images))
    faint = torch.where(torch.arange(12).view(1, 3, 2, 2) == 0, 1.0, 1e-38).expand_as(images)
    for odd in (faint, faint * 1e-7, torch.full_like(images, 3e38)):
        assert project(images, odd, torch.full((2,), gap), norm).isfinite().all()


@every_norm
def test_one_row_is_blind_to_the_others(norm) -> None:
    images, normal, _ = draw(4, 6, 5, torch.float32)
    gap = torch.tensor([0.0, 0.1, -0.1, 3.0, 1e6, -1e6])
    together = project(images, normal, gap, norm)
    for i in range(6):
        assert torch.equal(project(images[i : i + 1], normal[i : i + 1], gap[i : i + 1], norm), together[i : i + 1])
