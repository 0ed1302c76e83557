"""Properties of a threat, for any image: projected is inside, sampled is inside, a violation is measured as it was
planted."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brittle.core.errors import UsageError
from brittle.types.rng import Rng
from brittle.types.threat import Threat

few = settings(max_examples=25, deadline=None, derandomize=True)
norms = st.sampled_from(["linf", "l2", "l1"])
budgets = st.one_of(st.sampled_from([0.0, 1e-4, 1 / 255, 8 / 255, 0.5, 3.0]), st.floats(0, 4))
seeds = st.integers(0, 2**31)
ROUNDING = 1e-6


def draw(seed: int, count: int = 2) -> tuple[Tensor, torch.Generator]:
    """Images in [0, 1], with exact zeros and ones among their values."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, 3, 6, 5, generator=generator) * 1.4 - 0.2).clamp(0, 1), generator


def length(threat: Threat, delta: Tensor) -> Tensor:
    rows = delta.double().flatten(1).abs()
    return {"linf": rows.amax(1), "l2": rows.square().sum(1).sqrt(), "l1": rows.sum(1)}[threat.norm]


@few
@given(norms, budgets, seeds, st.sampled_from([1e-3, 0.1, 1.0, 50.0]))
def test_projection_is_inside_and_stays_where_it_is(norm, eps, seed, spread) -> None:
    threat = Threat(norm, eps)
    clean, generator = draw(seed)
    inside = threat.project(clean, clean + spread * torch.randn(clean.shape, generator=generator))
    assert (length(threat, inside - clean) <= eps + ROUNDING).all()
    assert inside.min() >= 0
    assert inside.max() <= 1
    torch.testing.assert_close(threat.project(clean, inside), inside, rtol=0, atol=2e-7)


@few
@given(budgets, seeds, st.sampled_from([1e-3, 0.1, 1.0, 50.0]), st.sampled_from([0, 4]))
def test_in_l1_it_is_the_nearest_point_of_ball_and_box(eps, seed, spread, ties) -> None:
    """Every change shortened by one and the same cut, then by the box (the conditions of the optimum), the cut found by
    bisection."""
    clean, generator = draw(seed)
    delta = spread * torch.randn(clean.shape, generator=generator)
    moved = clean + ((delta * ties).round() / ties if ties else delta)
    found = Threat("l1", eps).project(clean, moved)
    assert (Threat("l1", eps).violation(clean, found) < 1e-12).all()
    for x, y, got in zip(clean.double().flatten(1), (moved - clean).double().flatten(1), found.double().flatten(1)):
        room = torch.where(y > 0, 1 - x, x)
        low, high = 0.0, float(y.abs().max())
        for _ in range(80):
            cut = (low + high) / 2
            spent = (y.abs() - cut).clamp(min=0).minimum(room).sum()
            low, high = (cut, high) if spent > eps else (low, cut)
        fits = y.abs().minimum(room).sum() <= eps
        wanted = x + y.sign() * (y.abs() - (0 if fits else high)).clamp(min=0).minimum(room)
        torch.testing.assert_close(got, wanted, rtol=0, atol=2e-7)


@few
@given(norms, st.floats(0.01, 2), seeds)
def test_projection_moves_nothing_that_is_inside_and_uses_all_of_the_budget(norm, eps, seed) -> None:
    threat = Threat(norm, eps)
    clean, generator = draw(seed)
    direction = torch.randn(clean.shape, generator=generator)
    scale = (eps / length(threat, direction)).float().view(-1, 1, 1, 1)
    short = (clean + 0.5 * scale * direction).clamp(0, 1)
    torch.testing.assert_close(threat.project(clean, short), short, rtol=0, atol=2e-7)
    middle = torch.full_like(clean, 0.5)  # where the box is far
    small = Threat(norm, min(eps, 0.3))
    torch.testing.assert_close(
        length(small, small.project(middle, middle + 99 * direction) - middle),
        torch.full((2,), small.eps, dtype=torch.float64),
        rtol=1e-4,
        atol=1e-6,
    )


@few
@given(norms, budgets, seeds)
def test_samples_are_inside(norm, eps, seed) -> None:
    threat = Threat(norm, eps)
    clean, _ = draw(seed)
    found = threat.sample(clean, Rng(seed, ["a", "b"]))
    assert (threat.violation(clean, found) <= ROUNDING).all()
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_samples_are_uniform_by_volume(norm) -> None:
    threat, count = Threat(norm, 0.2), 3000
    clean = torch.full((count, 3, 1, 1), 0.5)  # 3 values an image: a ball whose radii are far from its surface
    delta = threat.sample(clean, Rng(0, [str(i) for i in range(count)])) - clean
    reach = length(threat, delta) / 0.2
    for radius in (0.3, 0.6, 0.9):  # the share of a ball within a radius is its cube, in every norm
        assert (reach < radius).double().mean().item() == pytest.approx(radius**3, abs=0.03)
    assert (delta.flatten(1).mean(0).abs() < 0.01).all()


@few
@given(norms, st.floats(1e-3, 1), st.floats(1e-4, 0.2), seeds)
def test_a_planted_excess_is_measured(norm, eps, excess, seed) -> None:
    clean = torch.full((2, 3, 30, 30), 0.5, dtype=torch.float64)  # rounding adds up in l1
    threat = Threat(norm, min(eps, 0.25) if norm == "linf" else eps)
    planted = clean.clone()
    place = seed % 30
    if norm == "linf":
        planted[1, seed % 3, place, 0] += threat.eps + excess
    else:
        direction = torch.randn(3, 30, 30, generator=torch.Generator().manual_seed(seed))
        planted[1] += (threat.eps + excess) * direction / length(threat, direction[None])
    found = threat.violation(clean, planted)
    assert found[0] == 0
    assert found[1].item() == pytest.approx(excess, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_leaving_the_box_is_a_violation(norm) -> None:
    clean = torch.zeros(3, 3, 4, 4)
    moved = clean.clone()
    moved[0, 0, 0, 0] = -0.01
    moved[1] = 1.0
    moved[1, 0, 0, 0] = 1.02
    found = Threat(norm, 100.0).violation(clean, moved)
    assert found.tolist() == pytest.approx([0.01, 0.02, 0.0], abs=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_an_infinite_violation(norm, value) -> None:
    clean = torch.full((2, 3, 4, 4), 0.5)
    moved = clean.clone()
    moved[1, 2, 3, 1] = value
    assert Threat(norm, 8 / 255).violation(clean, moved).tolist() == [0.0, math.inf]


@few
@given(norms, budgets, seeds, st.sampled_from([0.02, 0.3, 5.0]))
def test_8bit_images_are_levels_inside_the_budget(norm, eps, seed, spread) -> None:
    threat = Threat(norm, eps)
    rough, generator = draw(seed)
    clean = (rough * 255).round() / 255  # as a data set's images of the encoder's own size are
    images = threat.project(clean, clean + spread * torch.randn(clean.shape, generator=generator))
    saved = threat.to_8bit(clean, images)
    assert torch.equal(saved, (saved * 255).round() / 255)
    assert (threat.violation(clean, saved) <= ROUNDING).all()
    assert ((saved - images).abs() <= (1 if norm != "linf" or eps * 255 % 1 else 0.5) / 255 + ROUNDING).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_8bit_of_a_clean_image_is_itself(norm) -> None:
    clean = (torch.arange(256).float() / 255).repeat(3).view(1, 3, 16, 16)
    assert torch.equal(Threat(norm, 8 / 255).to_8bit(clean, clean), clean)


@pytest.mark.parametrize(
    ("norm", "eps"), [("linf", 8 / 255), ("linf", 2.5 / 255), ("l2", 0.02), ("l2", 0.5), ("l1", 0.6)]
)
def test_8bit_images_are_inside_the_budget_of_a_resized_clean_one(norm, eps) -> None:
    """Its values lie between two levels. Where rounding the clean image itself keeps the budget, there is an image that
    does."""
    threat = Threat(norm, eps)
    generator = torch.Generator().manual_seed(0)
    size = 40 if norm == "linf" else 8
    clean = torch.rand(8, 3, size, size, generator=generator)
    images = threat.project(clean, clean + torch.randn(clean.shape, generator=generator))
    possible = threat.violation(clean, (clean * 255).round() / 255) <= ROUNDING
    assert possible.all()
    assert threat.violation(clean, threat.to_8bit(clean, images)).max().item() <= ROUNDING


@pytest.mark.parametrize("eps", [math.nan, -1.0, math.inf, -math.inf])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_budget_that_makes_no_sense_is_refused(norm, eps) -> None:
    with pytest.raises(UsageError, match="eps"):
        Threat(norm, eps)


def test_an_unknown_norm_is_refused_and_the_near_one_named() -> None:
    with pytest.raises(UsageError, match="linf"):
        Threat("lnf", 0.1)  # type: ignore[arg-type]
    for odd in (None, ["linf"]):
        with pytest.raises(UsageError, match="linf"):
            Threat(odd, 0.1)  # type: ignore[arg-type]


@few
@given(seeds, st.floats(0.001, 1))
def test_a_step_has_its_length_and_linf_moves_each_value(seed, step) -> None:
    clean, generator = draw(seed)
    clean = clean * 0.9 + 0.05  # so that none of its values is kept by the box
    gradient = torch.randn(clean.shape, generator=generator) * 1e-6
    for norm in ("linf", "l2", "l1"):
        threat = Threat(norm, 1.0)
        delta = threat.ascend(clean, gradient, step) - clean
        torch.testing.assert_close(
            length(threat, delta), torch.full((2,), step, dtype=torch.float64), rtol=1e-3, atol=1e-5
        )
        assert ((delta * gradient).flatten(1).sum(1) > 0).all()
    assert torch.equal(Threat("l2", 1.0).ascend(clean, torch.zeros_like(clean), step), clean), (
        "no gradient, no step, no nan"
    )


def test_an_l1_step_moves_the_steepest_that_can_move_and_as_many_as_it_needs() -> None:
    clean = torch.full((2, 3, 10, 10), 0.5)
    gradient = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    order = gradient[0].abs().flatten().argsort(descending=True)
    met = clean.clone()
    met[0].view(-1)[order[:2]] = torch.where(gradient[0].flatten()[order[:2]] > 0, 1.0, 0.0)  # on the box's edge

    def movers(step: float, share: float) -> Tensor:
        return (Threat("l1", 9.0).ascend(met, gradient, step, share) - met)[0].flatten()

    for step, share, count in ((0.3, 0.01, 3), (0.3, 0.1, 30), (6.0, 0.01, 12)):
        moved = movers(step, share)
        assert moved.nonzero().flatten().sort().values.tolist() == order[: count + 2].sort().values.tolist()
        torch.testing.assert_close(moved[order[: count + 2]].abs(), torch.full((count + 2,), step / count))
        assert (moved * gradient[0].flatten() >= 0).all()


@pytest.mark.parametrize("scale", [1.0, 1e-8, 1e-14, 1e-24])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_step_is_as_long_for_the_faintest_gradient(norm, scale) -> None:
    """The gradient of cross entropy at a margin of 40 is 1e-18 long; a shorter step there would make the overconfident
    look robust."""
    clean, generator = draw(0)
    threat, gradient = Threat(norm, 1.0), torch.randn(clean.shape, generator=generator)
    wanted = threat.ascend(clean, gradient, 0.5)
    torch.testing.assert_close(threat.ascend(clean, gradient * scale, 0.5), wanted, rtol=0, atol=1e-5)
