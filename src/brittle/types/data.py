"""Data: a sample, a batch, and one split of a data set."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from brittle.types.target import Target


class Sample(NamedTuple):
    """One image, uint8 (0..255) or float32 (0..1), [3,H,W]; ``targets`` by the name of their kind: ``label`` int64 [],
    ``mask`` int64 [H,W] (void is ``VOID``), ``depth`` float32 [1,H,W] metres (0 is void)."""

    image: Tensor
    targets: Mapping[str, Tensor]

    def target(self, kind: Target | None) -> Tensor:
        """The target of a kind; 0 stands for that of a task without one."""
        return self.targets[kind.name] if kind else torch.tensor(0)


class Batch(NamedTuple):
    """``images`` [B,3,H,W] float32 in [0,1]; ``target`` of one kind with a leading B; ``ids``: B stable names;
    ``start``: where an attack may begin in place of a random point, [B,3,H,W], such as what it found with a smaller
    budget."""

    images: Tensor
    target: Tensor
    ids: Sequence[str]
    start: Tensor | None = None

    def rows(self, index: Sequence[int]) -> "Batch":
        """Some of the images."""
        place = torch.tensor(list(index), dtype=torch.long, device=self.images.device)
        start = self.start[place] if self.start is not None else None
        return Batch(self.images[place], self.target[place], [self.ids[i] for i in index], start)


class Dataset(Protocol):
    """One split in a fixed order: ``ids[i]`` names sample i for ever; ``classes`` has an entry for each kind of target
    there is (class names for ``label`` and ``mask``, none for ``depth``); ``fingerprint`` changes whenever a pixel or a
    label may have. ``DatasetDefaults`` has the rest."""

    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def classes(self) -> Mapping[str, Sequence[str]]: ...
    @property
    def licence(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def left_out(self) -> int: ...
    @property
    def passed_over(self) -> Mapping[str, int]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...
    def paths(self) -> Iterable[Path]: ...
    def glance(self, index: int, kind: str, /) -> tuple[Sequence[int], Tensor]: ...
    def raw(self, index: int, /) -> Sample: ...
    def clean(self, sample: Sample, /) -> Sample: ...


class DatasetDefaults(ABC):
    """What a data set does unless it says otherwise."""

    @abstractmethod
    def __getitem__(self, index: int, /) -> Sample: ...

    @property
    def left_out(self) -> int:
        """How many images cannot be read and are left out."""
        return 0

    def paths(self) -> Iterable[Path]:
        """The files that samples are read from when they are asked for; none where all is in memory or made up."""
        return ()

    @property
    def passed_over(self) -> Mapping[str, int]:
        """How many files in its folders are none of its images, for each reason."""
        return {}

    def glance(self, index: int, kind: str, /) -> tuple[Sequence[int], Tensor]:
        """Size (H, W) of an image and its target of a kind. Every target is looked at before anything is attacked, so a
        data set that decodes images slowly does this without decoding; the size of one with a label may be empty."""
        image, targets = self[index]
        return image.shape[-2:], targets[kind]

    def raw(self, index: int, /) -> Sample:
        """The sample as its files have it, invalid numbers included, for an audit of the data set."""
        return self[index]

    def clean(self, sample: Sample, /) -> Sample:
        """What ``raw`` gave, as it is measured: void for whatever is invalid."""
        return sample


def as_float(image: Tensor) -> Tensor:
    """uint8 (0..255) or float images as float32 in [0, 1]."""
    return image.float() / 255 if image.dtype == torch.uint8 else image.float()
