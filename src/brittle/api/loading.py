"""Encoders, data sets and results by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from brittle.api.world import world
from brittle.core import components
from brittle.core.errors import UsageError
from brittle.results.listed import Results
from brittle.types import Dataset, Encoder, Network, Sample


def load_encoder(text: str) -> Encoder:
    """The encoder of a spec, in evaluation mode: images [B,3,H,W] in [0,1] to Features.

    Raises:
        UsageError, MissingError: the spec makes no sense, or its weights are not there.
    """
    with world():
        built = components.build("encoders", text)
        if isinstance(built, Encoder):
            return built.eval()
    raise UsageError(f"{text} is a whole network, not an encoder; use brittle.load_model({text.partition(':')[2]!r})")


def load_model(text: str) -> Network:
    """The whole network of a spec such as ``hf:nvidia/segformer-b0``, in evaluation mode: images [B,3,H,W] in [0,1] to
    its prediction.

    Raises:
        UsageError, MissingError: the spec makes no sense, or its weights are not there.
    """
    with world():
        return components.build("models", text.removeprefix("model:")).eval()


def encoder_in(text: str) -> Encoder:
    """The encoder of a spec, or the one inside a whole network; UsageError where none is known there."""
    with world():
        built = components.build("encoders", text)
    if isinstance(built, Network):
        if built.encoder is None:
            raise UsageError(f"{text}: no encoder is known in this network; say which module with features=MODULE")
        built = built.encoder
    return built.eval()


def load_dataset(text: str, split: str = "test") -> Dataset:
    """One split (``train``, ``val`` or ``test``) of the data set of a spec."""
    if split not in ("train", "val", "test"):
        raise UsageError(f"no split {split!r}; there is train, val, test")
    with world():
        return cast(Dataset, Loaded(components.build("datasets", text, split)))


class Loaded:
    """A data set whose samples are the same whatever the process that reads them has set; all else is its own."""

    def __init__(self, data: Dataset) -> None:
        self._data = data

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # also while it is unpickled, when it has no data yet
            raise AttributeError(name)
        return getattr(self._data, name)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int, /) -> Sample:
        with world():
            return self._data[index]

    def glance(self, index: int, kind: str, /) -> tuple[Sequence[int], Tensor]:
        """See ``DatasetDefaults``."""
        with world():
            return self._data.glance(index, kind)

    def raw(self, index: int, /) -> Sample:
        """See ``DatasetDefaults``."""
        with world():
            return self._data.raw(index)

    def clean(self, sample: Sample, /) -> Sample:
        """See ``DatasetDefaults``."""
        with world():
            return self._data.clean(sample)


def read_run(folder: str | Path) -> Results:
    """All results of a run folder."""
    from brittle.results.store import read_run as read

    return Results(read(folder), Path(folder))
