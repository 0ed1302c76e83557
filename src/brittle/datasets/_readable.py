"""A data set without what cannot be read in it, for those who ask for it: counted, said, and another data set to every result."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from brittle import files
from brittle.errors import CellError, UsageError
from brittle.progress import progress, say
from brittle.types import Sample


class Readable:
    """One split without the pictures that cannot be read, or whose target cannot: found by reading all of it on first use.

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
        """Of the whole data set and the wish to leave some of it out; nothing is read for it."""
        return files.sha256(f"{self._data.fingerprint} without what cannot be read".encode())

    @cached_property
    def _places(self) -> tuple[list[int], list[str]]:
        """Places of the pictures that are kept, and the reason for each that is not."""
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
            raise UsageError(f"{self._name}: none of {len(reasons)} pictures can be read, the first: {reasons[0] if reasons else 'none'}")
        if reasons:
            say(f"{self._name}: {len(reasons)} of {len(self._data)} pictures left out, the first: {reasons[0]}")
        return kept, reasons

    @property
    def left_out(self) -> int:
        """How many pictures cannot be read."""
        return len(self._places[1])

    @cached_property
    def ids(self) -> Sequence[str]:
        return [self._data.ids[index] for index in self._places[0]]

    def __len__(self) -> int:
        return len(self._places[0])

    def __getitem__(self, index: int, /) -> Sample:
        return self._data[self._places[0][index]]
