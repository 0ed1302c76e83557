"""Intervals: Wilson's against published values, the bootstrap against simulated truth."""

import pytest
import torch

from brittle import spec
from brittle.intervals import intervals, wilson


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


def test_accuracy_has_wilsons() -> None:
    correct = torch.zeros(263)
    correct[:81] = 1
    assert intervals(spec.build("tasks", "classification"), classification(correct))["accuracy"] == pytest.approx(
        (0.2553, 0.3662), abs=5e-5
    )


def test_the_bootstrap_of_a_mean_is_the_normal_one_for_many_pictures() -> None:
    generator = torch.Generator().manual_seed(0)
    rmse = 1 + torch.rand(400, generator=generator, dtype=torch.float64)
    low, high = intervals(spec.build("tasks", "depth"), depth(rmse))["rmse"]
    half = 1.96 * rmse.std().item() / 20
    assert (low, high) == pytest.approx((rmse.mean().item() - half, rmse.mean().item() + half), abs=0.15 * half)


def test_the_bootstrap_covers(monkeypatch) -> None:
    monkeypatch.setattr("brittle.intervals.RESAMPLES", 200)
    task, generator, covered, rounds = spec.build("tasks", "depth"), torch.Generator().manual_seed(1), 0, 60
    for _ in range(rounds):
        rmse = -torch.rand(40, generator=generator, dtype=torch.float64).log()  # exponential: mean 1
        low, high = intervals(task, depth(rmse))["rmse"]
        covered += low <= 1 <= high
    assert 0.82 <= covered / rounds <= 1.0, "a nominal 95 % interval that covers less than 82 % is wrong"


def test_every_metric_has_an_interval_around_its_estimate() -> None:
    generator = torch.Generator().manual_seed(2)
    mask = torch.randint(0, 4, (30, 8, 8), generator=generator)
    logits = torch.nn.functional.one_hot(mask, 4).movedim(-1, 1) + 1.5 * torch.randn(30, 4, 8, 8, generator=generator)
    task = spec.build("tasks", "segmentation")
    rows = task.score(logits, mask)
    metrics = task.summarise({key: value.sum(0) for key, value in rows.items()})
    found = intervals(task, rows)
    assert found.keys() == metrics.keys()
    for name, (low, high) in found.items():
        assert low < metrics[name] < high, name
        assert high - low < 0.2, name


def test_few_pictures_give_wide_intervals_and_the_seed_decides() -> None:
    task = spec.build("tasks", "depth")
    rmse = torch.rand(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    many, few = (intervals(task, depth(rows))["rmse"] for rows in (rmse, rmse[:10]))
    assert few[1] - few[0] > 1.5 * (many[1] - many[0])
    assert intervals(task, depth(rmse)) == intervals(task, depth(rmse))
    assert intervals(task, depth(rmse), seed=1) != intervals(task, depth(rmse))


def test_pictures_without_a_valid_pixel_do_not_spoil_it() -> None:
    rows = depth(torch.rand(20, dtype=torch.float64))
    empty = {key: torch.cat([value, torch.zeros(1, dtype=value.dtype)]) for key, value in rows.items()}
    low, high = intervals(spec.build("tasks", "depth"), empty)["rmse"]
    assert 0 < low < high < 1
