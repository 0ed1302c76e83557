"""What "95 %" means: how often the interval of a drawn set of images holds the value of the population it was drawn
from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from brittle.core import components
from brittle.evaluation.intervals import intervals

Statistics = dict[str, np.ndarray]
IMAGES = 20_000  # of a population
LOW, HIGH = 0.93, 0.97


@dataclass(frozen=True)
class Population:
    """Per-image statistics of very many images, and how many are drawn from it at a time."""

    task: str
    metric: str
    make: Callable[[np.random.Generator], Statistics]
    drawn: int


def bernoulli(share: float) -> Callable[[np.random.Generator], Statistics]:
    return lambda rng: {"correct": (rng.random(IMAGES) < share).astype(int), "images": np.ones(IMAGES, int)}


def masks(
    present: np.ndarray, share: np.ndarray, shift: float = 0.0, guess: int = 0
) -> Callable[[np.random.Generator], Statistics]:
    """Histograms of images of 50,000 pixels that go right or wrong together: by image, by class, and by class in an
    image.

    Args:
        present: how often each class is in an image; the first always is.
        share: how large it is there, before all are scaled to fill the image.
        shift: of the log odds that a pixel is right.
        guess: seed of another network's luck on the same masks; 0 for one that has its own.
    """

    def make(rng: np.random.Generator) -> Statistics:
        size = (IMAGES, len(present))
        there = rng.random(size) < present
        there[:, 0] = True
        area = there * share * rng.gamma(1.2, 1, size)
        actual = np.round(50_000 * area / area.sum(1, keepdims=True))
        # classes and images that are easy for all
        odds = shift + 1 + rng.normal(0, 0.9, size[1]) + rng.normal(0, 0.8, (IMAGES, 1))
        luck = np.random.default_rng(guess) if guess else rng
        odds = odds + luck.normal(0, 1, size)
        right = np.floor(actual / (1 + np.exp(-odds)))
        wrong = (actual - right).sum(1, keepdims=True)
        # most wrong pixels go to classes that are there, the rest to one that may not be
        taken = there * luck.gamma(0.7, 1, size)
        predicted = right + 0.7 * wrong * taken / taken.sum(1, keepdims=True)
        predicted[np.arange(IMAGES), luck.choice(size[1], IMAGES, p=present / present.sum())] += 0.3 * wrong[:, 0]
        return {"intersection": right, "predicted": np.round(predicted), "actual": actual}

    return make


def errors(rng: np.random.Generator) -> Statistics:
    """RMSE of images: gamma, and in 3 % of them two to four times as large; a tenth have few valid pixels."""
    rmse = rng.gamma(4, 0.12, IMAGES) * np.where(rng.random(IMAGES) < 0.03, rng.uniform(2, 4, IMAGES), 1)
    pixels = np.round(np.where(rng.random(IMAGES) < 0.1, 0.2, 1) * rng.beta(8, 2, IMAGES) * 40_000) + 1
    ones = np.ones(IMAGES)
    return {
        "rmse": rmse,
        "absrel": rmse / 5,
        "delta1": np.exp(-rmse),
        "images": ones,
        "squared": rmse**2 * pixels,
        "pixels": pixels,
    }


STREET = np.r_[np.full(8, 0.95), np.linspace(0.9, 0.1, 11)], np.geomspace(0.35, 0.003, 19)
OBJECTS = np.r_[1, np.full(19, 0.06), 0.27], np.r_[0.7, np.full(20, 0.25)]
POPULATIONS = {
    "accuracy 0.93": Population("classification", "accuracy", bernoulli(0.93), 200),
    "accuracy 0.41": Population("classification", "accuracy", bernoulli(0.41), 500),
    "accuracy 0.03": Population("classification", "accuracy", bernoulli(0.03), 500),
    "mIoU of streets": Population("segmentation", "miou", masks(*STREET), 200),
    "mIoU of objects": Population("segmentation", "miou", masks(*OBJECTS), 200),
    "mIoU of objects, attacked": Population("segmentation", "miou", masks(*OBJECTS, shift=-4), 200),
    "RMSE": Population("depth", "rmse", errors, 200),
}


def coverage(population: Population, draws: int, seed: int = 0) -> float:
    """Share of ``draws`` drawn sets whose interval holds the population's value."""
    rng, task = np.random.default_rng(seed), components.build("tasks", population.task)
    pool = {key: torch.from_numpy(value) for key, value in population.make(rng).items()}
    true = task.summarise({key: value.sum(0) for key, value in pool.items()})[population.metric]
    held = 0
    for _ in range(draws):
        rows = torch.from_numpy(rng.integers(IMAGES, size=population.drawn))
        low, high = intervals(task, {key: value[rows] for key, value in pool.items()})[population.metric]
        held += low <= true <= high
    return held / draws


@pytest.mark.parametrize("name", POPULATIONS)
def test_95_percent_is_95_percent(name) -> None:
    assert LOW <= coverage(POPULATIONS[name], draws=400) <= HIGH
