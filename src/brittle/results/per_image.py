"""What each test image scored, from the per-image statistics of run folders."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from brittle.core.errors import BrittleError
from brittle.core.progress import say
from brittle.core.records import Result
from brittle.planning import identity
from brittle.planning.warm_start import titled
from brittle.results.compare import statistics_of
from brittle.results.store import Store, folder_of


def image_scores(folders: Sequence[Path]) -> Callable[[Result], Mapping[str, float | None]]:
    """What gives the headline of each image of a result by itself, by the image's id: 1 or 0 for a right or wrong
    label, the mIoU of the classes in one image; None where an image has none. Of a result without samples nothing,
    which is said."""

    def found(result: Result) -> Mapping[str, float | None]:
        try:
            ids, statistics = statistics_of(Store(folder_of(result.id, folders)).samples(result.id))
        except BrittleError as error:
            say(f"left out: {titled(result.cell)}: {error}")
            return {}
        task, headline = identity.task_of(result.cell.task), str(result.task["headline"])
        rows = {key: torch.from_numpy(value) for key, value in statistics.items()}
        each = [
            task.summarise({key: value[place] for key, value in rows.items()})[headline] for place in range(len(ids))
        ]
        return {name: score if math.isfinite(score) else None for name, score in zip(ids, each)}

    return found
