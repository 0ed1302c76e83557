"""A data set without its unreadable images, where that is set: they are counted and reported, and results are those of
a different data set."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from brittle.core import files
from brittle.core.errors import CellError, UsageError
from brittle.core.progress import progress, say
from brittle.types import DatasetDefaults, Sample


class Readable(DatasetDefaults):
    """One split without the images that cannot be read, or whose target cannot; all of it is read on first use to
    find them.

    Args:
        data: the Dataset.
        name: what to call it in messages.
    """

    def __init__(self, data: Any, name: str) -> None:
        self._data, self._name = data, name
        self.classes: Mapping[str, Sequence[str]] = data.classes
        self.licence = data.licence

    @cached_property
    def fingerprint(self) -> str:
        """Of the whole data set and the setting to leave some of it out; no image is read for it."""
        return files.sha256(f"{self._data.fingerprint} without what cannot be read".encode())

    @cached_property
    def _places(self) -> tuple[list[int], list[str]]:
        """Places of the images that are kept, and the reason for each that is not."""
        kept: list[int] = []
        reasons: list[str] = []
        with progress(f"reading {self._name}", len(self._data)) as advance:
            for index in range(len(self._data)):
                try:
                    self._data[index]
                    kept.append(index)
                except CellError as error:
                    reasons.append(str(error))
                advance(1)
        if not kept:
            raise UsageError(
                f"{self._name}: none of {len(reasons)} images can be read, the first: "
                f"{reasons[0] if reasons else 'none'}"
            )
        if reasons:
            say(f"{self._name}: {len(reasons)} of {len(self._data)} images left out, the first: {reasons[0]}")
        return kept, reasons

    @property
    def left_out(self) -> int:
        """How many images cannot be read."""
        return len(self._places[1])

    @cached_property
    def ids(self) -> Sequence[str]:
        return [self._data.ids[index] for index in self._places[0]]

    @property
    def passed_over(self) -> Mapping[str, int]:
        return self._data.passed_over

    def __len__(self) -> int:
        return len(self._places[0])

    def raw(self, index: int, /) -> Sample:
        return self._data.raw(self._places[0][index])

    def clean(self, sample: Sample, /) -> Sample:
        return self._data.clean(sample)

    def __getitem__(self, index: int, /) -> Sample:
        return self._data[self._places[0][index]]

    def paths(self) -> Iterable[Path]:
        """As the data set itself has them, those that cannot be read included."""
        return self._data.paths()

    def glance(self, index: int, kind: str, /) -> tuple[Sequence[int], Tensor]:
        """As the data set itself has it."""
        return self._data.glance(self._places[0][index], kind)
