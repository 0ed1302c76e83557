"""What each test image and each class scored, from the per-image statistics of run folders."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brittle.core.errors import BrittleError
from brittle.core.progress import say
from brittle.core.records import OfClass, Result, Spread
from brittle.evaluation.intervals import wilson
from brittle.planning import identity
from brittle.planning.warm_start import titled
from brittle.results.compare import statistics_of
from brittle.results.store import Store, folder_of
from brittle.types import Task


def image_scores(folders: Sequence[Path]) -> Callable[[Result], Mapping[str, float | None]]:
    """What gives the headline of each image of a result by itself, by the image's id: 1 or 0 for a right or wrong
    label, the mIoU of the classes in one image; None where an image has none. Of a result without samples nothing,
    which is said."""

    def found(result: Result) -> Mapping[str, float | None]:
        try:
            ids, rows = _rows(Store(folder_of(result.id, folders)).samples(result.id))
        except BrittleError as error:
            say(f"left out: {titled(result.cell)}: {error}")
            return {}
        each = identity.task_of(result.cell.task).alone(rows).tolist()
        return {name: score if math.isfinite(score) else None for name, score in zip(ids, each)}

    return found


def spreads(folders: Sequence[Path]) -> Callable[[Result], Spread]:
    """What gives the images and classes behind a result, or behind one that stands for several seeds: the images of all
    seeds, and of each class its mean. Nothing where there are no samples, or their task is not there any more."""
    known: dict[tuple[str, ...], Spread] = {}

    def found(result: Result) -> Spread:
        ids = tuple(result.made_by.get("ids", [result.id]))
        if ids not in known:
            try:
                every = [Store(folder_of(name, folders)).samples(name) for name in ids]
                known[ids] = _spread(identity.task_of(result.cell.task), every)
            except BrittleError:
                known[ids] = Spread()
        return known[ids]

    return found


def _rows(samples: Mapping[str, Any]) -> tuple[list[str], dict[str, Tensor]]:
    ids, statistics = statistics_of(samples)
    return ids, {key: torch.from_numpy(value) for key, value in statistics.items()}


def _spread(task: Task, every: Sequence[Mapping[str, Any]]) -> Spread:
    """Of the samples of one result, or of several seeds."""
    rows = [_rows(samples)[1] for samples in every]
    single = task.headline in task.proportions  # each image is right or wrong
    images = [] if single else torch.cat([task.alone(each) for each in rows]).tolist()
    counted = [each for row in rows if (each := task.by_class(row)) is not None]
    classes: list[OfClass] = []
    if counted and "classes" in every[0]:
        hits, trials = (torch.stack(each).mean(0).tolist() for each in zip(*counted))  # of seeds, the same images
        for place, (name, hit, trial) in enumerate(zip(every[0]["classes"], hits, trials)):
            if trial:
                ends = wilson(hit, trial) if single else (math.nan, math.nan)
                classes.append(OfClass(place, str(name), hit / trial, *ends))
    return Spread([value for value in images if math.isfinite(value)], classes)
