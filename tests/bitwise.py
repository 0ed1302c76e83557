"""Whether two run folders hold the same numbers, to the last bit."""

from collections.abc import Iterable

import numpy as np

from brittle.results.store import Store

FIELDS = ("cell", "metrics", "metrics_uint8", "intervals", "findings", "images", "image_ids_sha256", "failed")


def differing(one: Store, other: Store, names: Iterable[str]) -> list[str]:
    """The cells of which two stores do not hold the same: that lack in either, or differ in a number, a finding or a
    row of an image, whatever they took."""
    return [name for name in names if not _same(one, other, name)]


def _same(one: Store, other: Store, name: str) -> bool:
    first, second = one.get(name), other.get(name)
    if first is None or second is None:
        return False
    if any(getattr(first, field) != getattr(second, field) for field in FIELDS):
        return False
    rows, others = one.samples(name), other.samples(name)
    return rows.keys() == others.keys() and all(
        np.array_equal(rows[key], others[key], equal_nan=rows[key].dtype.kind == "f") for key in rows
    )
