"""Intervals: Wilson's against published values, the jackknife against what is known of means and ratios."""

import math

import pytest
import torch

from brittle.core import components
from brittle.evaluation.intervals import intervals, pseudovalues, standard_error, student, two_sided, wilson


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [  # Newcombe 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_wilson_is_the_published_one(hits, trials, low, high) -> None:
    assert wilson(hits, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_stays_in_bounds_and_knows_nothing_of_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    for trials in (1, 3, 1000):
        for hits in {0, 1, trials // 2, trials}:
            low, high = wilson(hits, trials)
            assert 0 <= low <= hits / trials + 1e-12
            assert hits / trials - 1e-12 <= high <= 1
    assert wilson(500, 1000)[1] - wilson(500, 1000)[0] < wilson(5, 10)[1] - wilson(5, 10)[0]


def classification(correct: torch.Tensor):
    return {"correct": correct.long(), "images": torch.ones(len(correct), dtype=torch.long)}


def depth(rmse: torch.Tensor):
    ones = torch.ones(len(rmse), dtype=torch.float64)
    return {
        "rmse": rmse,
        "absrel": rmse / 5,
        "delta1": ones * 0.5,
        "images": ones.long(),
        "squared": rmse**2 * 9,
        "pixels": ones.long() * 9,
    }


def segmentation(count: int, noise: float, seed: int = 2):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.randint(0, 4, (count, 8, 8), generator=generator)
    logits = torch.nn.functional.one_hot(mask, 4).movedim(-1, 1) + noise * torch.randn(
        count, 4, 8, 8, generator=generator
    )
    return components.build("tasks", "segmentation").score(logits, mask)


def metrics(task, rows):
    return task.summarise({key: value.sum(0) for key, value in rows.items()})


@pytest.mark.parametrize("freedom", [4, 7, 15, 199, 5000])
def test_student_is_students(freedom) -> None:
    law = pytest.importorskip("scipy.stats").t(freedom)
    assert student(freedom) == pytest.approx(law.ppf(0.975), rel=5e-3)
    for t in (0.0, 0.5, 2.0, 3.0):
        assert two_sided(t, freedom) == pytest.approx(2 * law.sf(t), rel=0.02)
    assert two_sided(student(freedom), freedom) == pytest.approx(0.05, rel=1e-6)
    assert two_sided(30.0, 199) < 1e-60


def test_accuracy_has_wilsons() -> None:
    correct = torch.zeros(263)
    correct[:81] = 1
    found = intervals(components.build("tasks", "classification"), classification(correct))
    assert found["accuracy"] == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_of_a_mean_it_is_students() -> None:
    rmse = 1 + torch.rand(25, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    task = components.build("tasks", "depth")
    assert torch.allclose(pseudovalues(task, depth(rmse))["rmse"], rmse, rtol=1e-12)
    half = 2.0639 * rmse.std().item() / 5
    assert intervals(task, depth(rmse))["rmse"] == pytest.approx(
        (rmse.mean().item() - half, rmse.mean().item() + half), abs=1e-4
    )


def test_of_a_ratio_it_takes_the_bias_away() -> None:
    rng, task = torch.Generator().manual_seed(0), components.build("tasks", "depth")
    plain, better = [], []
    for _ in range(400):  # the root of a mean square of 8 exponentials, whose square has mean 2: too low on average
        rows = depth(-torch.rand(8, generator=rng, dtype=torch.float64).log())
        plain.append(metrics(task, rows)["rmse_pooled"])
        better.append(pseudovalues(task, rows)["rmse_pooled"].mean().item())
    true = math.sqrt(2)
    assert sum(plain) / 400 < true - 0.05
    assert abs(sum(better) / 400 - true) < 0.4 * abs(sum(plain) / 400 - true)


def test_an_interval_is_centred_where_the_bias_is_taken_away() -> None:
    rows, task = (
        depth(-torch.rand(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log()),
        components.build("tasks", "depth"),
    )
    values = pseudovalues(task, rows)["rmse_pooled"]
    low, high = intervals(task, rows)["rmse_pooled"]
    plain = metrics(task, rows)["rmse_pooled"]
    assert 0 < low < plain < high, "neither end was moved"
    assert (low + high) / 2 == pytest.approx(values.mean().item())
    assert values.mean() > plain + 0.03, "a root of a mean is too low"


def test_metres_have_no_upper_end() -> None:
    low, high = intervals(components.build("tasks", "depth"), depth(torch.linspace(3, 5, 20).double()))["rmse"]
    assert 3 < low < 4 < high < 5


def test_every_metric_has_an_interval_around_its_estimate() -> None:
    task, rows = components.build("tasks", "segmentation"), segmentation(30, 1.5)
    found = intervals(task, rows)
    assert found.keys() == metrics(task, rows).keys()
    for name, (low, high) in found.items():
        assert low < metrics(task, rows)[name] < high, name
        assert high - low < 0.2, name


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("noise", [0.0, 0.3, 30.0])
def test_of_few_images_it_is_wide_and_within_what_can_be(count, noise) -> None:
    task, rows = components.build("tasks", "segmentation"), segmentation(count, noise)
    for name, (low, high) in intervals(task, rows).items():
        assert 0 <= low <= metrics(task, rows)[name] <= high <= 1, name
    for name, (low, high) in intervals(
        task := components.build("tasks", "depth"), rows := depth(torch.rand(count).double())
    ).items():
        assert 0 <= low <= metrics(task, rows)[name] <= high < math.inf, name


def test_more_images_tell_more_and_the_same_ones_the_same() -> None:
    task = components.build("tasks", "depth")
    rmse = torch.rand(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    many, few = (intervals(task, depth(rows))["rmse"] for rows in (rmse, rmse[:10]))
    assert few[1] - few[0] > 1.5 * (many[1] - many[0])
    assert intervals(task, depth(rmse)) == intervals(task, depth(rmse))
    assert intervals(task, depth(rmse.flip(0)))["rmse"] == pytest.approx(many, rel=1e-12)


def test_one_image_tells_nothing_of_the_others() -> None:
    assert math.isnan(standard_error(torch.ones(1)))
    assert intervals(components.build("tasks", "depth"), depth(torch.ones(1).double())) == {}
    assert intervals(components.build("tasks", "classification"), classification(torch.ones(1)))["accuracy"][0] < 0.3


def test_images_that_are_all_alike_tell_no_more_than_one() -> None:
    copies = depth(torch.full((4,), 1 / 3).double())
    assert intervals(components.build("tasks", "depth"), copies) == {}
    assert math.isnan(standard_error(torch.full((5,), 0.1).double().cumsum(0).diff()))  # equal but for rounding


def test_images_without_a_valid_pixel_do_not_spoil_it() -> None:
    rows = depth(torch.rand(20, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    empty = {key: torch.cat([value, torch.zeros(1, dtype=value.dtype)]) for key, value in rows.items()}
    without, found = (intervals(components.build("tasks", "depth"), part)["rmse"] for part in (rows, empty))
    assert found == pytest.approx(without, rel=0.05)
