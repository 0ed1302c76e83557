"""Encoders, data sets and results by name."""

from pathlib import Path

from brittle.api.world import world
from brittle.core import components
from brittle.core.errors import UsageError
from brittle.core.records import Result
from brittle.types import Dataset, Encoder


def load_encoder(text: str) -> Encoder:
    """The encoder of a spec, in evaluation mode: images [B,3,H,W] in [0,1] to Features.

    Raises:
        UsageError, MissingError: the spec makes no sense, or its weights are not there.
    """
    with world():
        return components.build("encoders", text).eval()


def load_dataset(text: str, split: str = "test") -> Dataset:
    """One split (``train``, ``val`` or ``test``) of the data set of a spec."""
    if split not in ("train", "val", "test"):
        raise UsageError(f"no split {split!r}; there is train, val, test")
    with world():
        return components.build("datasets", text, split)


def read_run(folder: str | Path) -> list[Result]:
    """All results of a run folder."""
    from brittle.results.store import read_run as read

    return read(folder)
