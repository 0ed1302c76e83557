"""Paired comparisons: McNemar's p to the last digit, intervals and tests that err as often as they say, Holm's own
example."""

import numpy as np
import pytest
import torch
from test_coverage import IMAGES, OBJECTS, errors, masks

from brittle.core import components
from brittle.results.paired_tests import bonett_price, holm, mcnemar, paired


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (0, 5), (3, 3), (12, 5), (59, 6), (40, 41), (700, 610)])
def test_mcnemar_is_the_binomial_test(only_a, only_b) -> None:
    stats = pytest.importorskip("scipy.stats")
    wanted = stats.binomtest(only_a, only_a + only_b, 0.5).pvalue if only_a + only_b else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(wanted, rel=1e-10)
    assert mcnemar(only_b, only_a) == mcnemar(only_a, only_b)


def test_mcnemar_of_very_many() -> None:
    assert mcnemar(25_000, 25_000) == 1.0
    assert 0 < mcnemar(24_000, 26_000) < 1e-15
    assert mcnemar(0, 5_000) == 0.0


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def right(*rows: bool):
    return {"correct": torch.tensor(rows).long(), "images": torch.ones(len(rows), dtype=torch.long)}


def test_right_and_wrong_are_mcnemars() -> None:
    a, b = np.array([True] * 60 + [False] * 40), np.array([True] * 45 + [False] * 50 + [True] * 5)
    found = paired(components.build("tasks", "classification"), "accuracy", (right(*a), right(*b)))
    assert (found.a, found.b, found.images, found.test, found.discordant) == (
        pytest.approx(0.6),
        pytest.approx(0.5),
        100,
        "McNemar",
        (15, 5),
    )
    assert found.p == mcnemar(15, 5)
    assert (found.low, found.high) == bonett_price(15, 5, 100)
    assert found.low < found.difference < found.high


def test_the_interval_of_a_difference_of_shares_covers() -> None:
    rng, held, draws = np.random.default_rng(0), 0, 2000
    cells = np.array([0.5, 0.12, 0.05, 0.33])  # both right, only A, only B, neither
    for both in rng.multinomial(200, cells, draws):
        low, high = bonett_price(both[1], both[2], 200)
        held += low <= 0.07 <= high
    assert 0.94 <= held / draws <= 0.97
    assert bonett_price(0, 0, 50)[1] > 0.02, "nothing discordant in 50 images is not certainty"
    assert bonett_price(50, 0, 50)[1] == 1.0


def metres(rmse: torch.Tensor):
    ones = torch.ones(len(rmse), dtype=torch.float64)
    return {"rmse": rmse, "absrel": rmse, "delta1": rmse * 0, "images": ones, "squared": rmse**2, "pixels": ones}


def test_of_a_mean_it_is_the_paired_t_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    a, b = rng.gamma(4, 0.1, (2, 50)) + rng.gamma(2, 0.2, 50)
    found = paired(
        components.build("tasks", "depth"), "rmse", (metres(torch.from_numpy(a)), metres(torch.from_numpy(b)))
    )
    wanted = stats.ttest_rel(a, b)
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-3)
    assert (found.low, found.high) == pytest.approx(tuple(wanted.confidence_interval(0.95)), abs=1e-5)


def test_a_planted_difference_is_found_and_none_is_not() -> None:
    rng, task = np.random.default_rng(1), components.build("tasks", "depth")
    hard, noise = rng.gamma(4, 0.2, 300), rng.normal(0, 0.03, (2, 300))
    a, b = (metres(torch.from_numpy(hard + part)) for part in noise)
    worse = metres(torch.from_numpy(hard + noise[1] + 0.02))  # a fortieth of what images differ by among themselves
    assert paired(task, "rmse", (a, b)).p > 0.05
    found = paired(task, "rmse", (a, worse))
    assert found.p < 1e-6
    assert found.low < -0.02 < found.high < 0
    same = paired(task, "rmse", (a, a))
    assert (same.difference, same.low, same.high, same.p) == (0, -np.inf, np.inf, 1)
    constant = paired(task, "rmse", (metres(torch.full((4,), 2.0).double()), metres(torch.full((4,), 1.0).double())))
    assert (constant.p, constant.low, constant.high) == (1, -np.inf, np.inf), "no spread is no evidence"


def test_ties_by_hand() -> None:
    """Gaps 0, 0, 0, 2: mean 0.5, standard error 0.5, t = 1 with 3 degrees of freedom."""
    task = components.build("tasks", "depth")
    a, b = metres(torch.tensor([1.0, 1, 1, 3]).double()), metres(torch.ones(4).double())
    found = paired(task, "rmse", (a, b))
    assert found.difference == 0.5
    assert found.p == pytest.approx(0.391, abs=0.01)  # Student's table
    assert (found.low, found.high) == pytest.approx((0.5 - 3.18 * 0.5, 0.5 + 3.18 * 0.5), abs=0.03)


def test_several_seeds_are_the_test_of_their_means() -> None:
    """By hand: gaps 0, 0, 0, 4 and 0, 0, 0, 0 are 0, 0, 0, 2 on average: mean 0.5, standard error 0.5, three degrees of
    freedom; the differences of the seeds are 1 and 0."""
    task, zero = components.build("tasks", "depth"), metres(torch.zeros(4).double())
    found = paired(task, "rmse", (metres(torch.tensor([0, 0, 0, 4.0]).double()), zero), (zero, zero))
    assert (found.a, found.b, found.seeds, found.spread) == (0.5, 0.0, 2, pytest.approx(0.5**0.5))
    assert (found.low, found.high) == pytest.approx((0.5 - 3.18 * 0.5, 0.5 + 3.18 * 0.5), abs=0.03)
    classes = components.build("tasks", "classification")
    seeds = [(right(True, False, seed, True), right(*[False] * 4)) for seed in (True, False)]
    shares = paired(classes, "accuracy", *seeds)
    assert (shares.a, shares.test, shares.discordant) == (0.625, "jackknife t", None)


@pytest.mark.parametrize("metric", ["rmse", "miou"])
def test_copies_of_one_image_are_no_test(metric: str) -> None:
    def copies(value: float):
        if metric == "rmse":
            return metres(torch.full((4,), value).double() / 3)
        hits = torch.tensor([[int(10 * value), 7]]).repeat(4, 1)
        return {"intersection": hits, "predicted": hits + 3, "actual": hits + 5}

    task = components.build("tasks", "depth" if metric == "rmse" else "segmentation")
    found = paired(task, metric, (copies(2.0), copies(1.0)))
    assert found.difference != 0
    assert (found.p, found.low, found.high, found.test) == (1.0, -np.inf, np.inf, "none: no spread")


def test_one_image_proves_nothing() -> None:
    found = paired(
        components.build("tasks", "depth"), "rmse", (metres(torch.ones(1).double()), metres(torch.zeros(1).double()))
    )
    assert (found.p, found.low, found.high) == (1.0, -np.inf, np.inf)


def pairs(task: str, metric: str, make, drawn: int, draws: int, seed: int = 0):
    """Shares of drawn sets in which the interval holds the true difference, and in which a difference of nothing has p
    < 0.05.

    A and B are two populations' statistics of the same images; for the second share, each image's are swapped by a
    coin.
    """
    rng, made = np.random.default_rng(seed), components.build("tasks", task)
    both = [{key: torch.from_numpy(value) for key, value in side.items()} for side in make(rng)]
    true = np.subtract(*(made.summarise({key: value.sum(0) for key, value in side.items()})[metric] for side in both))
    held = alarms = 0
    for _ in range(draws):
        rows, coin = torch.from_numpy(rng.integers(IMAGES, size=drawn)), torch.from_numpy(rng.random(drawn) < 0.5)
        a, b = ({key: value[rows] for key, value in side.items()} for side in both)
        found = paired(made, metric, (a, b))
        held += found.low <= true <= found.high
        mixed = tuple(
            {key: torch.where(coin.view(-1, *[1] * (x[key].dim() - 1)), x[key], y[key]) for key in x}
            for x, y in ((a, b), (b, a))
        )
        alarms += paired(made, metric, mixed).p < 0.05
    return held / draws, alarms / draws


def depths(rng):
    a = errors(rng)
    rmse = a["rmse"] * rng.gamma(20, 0.055, IMAGES)
    return a, {**a, "rmse": rmse, "squared": rmse**2 * a["pixels"]}


def objects(rng):
    """Two networks of other skill on the same masks: what is there is the same, what goes right and where the wrong
    pixels go is not."""
    state = rng.bit_generator.state
    a = masks(*OBJECTS, guess=1)(rng)
    rng.bit_generator.state = state
    return a, masks(*OBJECTS, guess=2, shift=-0.2)(rng)


@pytest.mark.parametrize(("task", "metric", "make"), [("depth", "rmse", depths), ("segmentation", "miou", objects)])
def test_95_percent_is_95_percent(task, metric, make) -> None:
    held, alarms = pairs(task, metric, make, drawn=120, draws=200)
    assert 0.92 <= held <= 0.985
    assert 0.015 <= alarms <= 0.08
