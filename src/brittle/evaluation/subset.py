"""Which images of a split a limit leaves: a draw by name that is balanced over classes, and that a larger limit only
adds to."""

from collections import Counter
from collections.abc import Hashable, Sequence

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.planning.protocols import SUBSETS
from brittle.types.data import Dataset


def subset(data: Dataset, limit: int | None, rule: str = "balanced") -> Sequence[int]:
    """The places of the images to use, in rising order: all of them where there is no ``limit`` or it is no smaller
    than the split.

    Args:
        rule: ``balanced``: drawn by a hash of each image's id, as many of each class as there are, where the data set
            has one class an image; a larger limit contains a smaller one. ``first``: the first ones, which in a folder
            sorted by class may all be of one. Any other: drawn by a hash of each id and the rule.

    Raises:
        UsageError: ``limit`` is below 1.
    """
    count = len(data)
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}; give 1 or more, or none for all images")
    if limit is None or limit >= count:
        return range(count)
    if rule == "first":
        return range(limit)
    if rule not in SUBSETS:
        return sorted(sorted(range(count), key=lambda place: files.sha256(f"{rule} {data.ids[place]}"))[:limit])
    drawn = sorted(range(count), key=lambda place: files.sha256(f"subset {data.ids[place]}"))
    labels = _labels(data)
    seen: Counter[Hashable] = Counter()
    ranks: dict[int, tuple[int, str]] = {}
    for place in drawn:  # the n-th of each class comes before any n+1-th; another class leads for each n
        rank = seen[labels[place]]
        ranks[place] = rank, files.sha256(f"{rank} {labels[place]}")
        seen[labels[place]] += 1
    return sorted(sorted(drawn, key=ranks.__getitem__)[:limit])


def _labels(data: Dataset) -> Sequence[Hashable]:
    """The class of each image; None where images have no class as a whole."""
    if "label" not in data.classes:
        return [None] * len(data)
    return [int(data.glance(place, "label")[1]) for place in range(len(data))]


def describe(used: int, data: Dataset, rule: str) -> str:
    """One line for reports; empty where all images are used."""
    if used == len(data):
        return ""
    if rule == "first":
        return f"the first {used} of {len(data)} images"
    if rule not in SUBSETS:
        return f"{used} of {len(data)} images drawn anew for each number"
    over = ", balanced over classes" if "label" in data.classes else ""
    return f"{used} of {len(data)} images drawn by name{over}"
