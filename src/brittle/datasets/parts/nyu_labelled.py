"""NYU Depth v2, the 1,449 labelled pairs of its .mat file with the official split."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.datasets.parts import matlab
from brittle.datasets.parts.arrays import tail
from brittle.datasets.parts.listed import library
from brittle.types import DatasetDefaults, Sample, image_files

DATA, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"


class Labelled(DatasetDefaults):
    """One split. Target: ``depth`` in metres as stored. Ids are the official numbers, from 1.

    Args:
        root: the folder with both files.
        key: ``depths``, in-painted, or ``rawDepths``, with holes.
    """

    classes: Mapping[str, Sequence[str]] = {"depth": ()}
    licence = ""

    def __init__(self, root: Path, split: str, key: str) -> None:
        self._path, self._key = root / DATA, key
        self._numbers = _official(root / SPLITS, split)
        self._lock = Lock()
        content = self._file
        if key not in content or "images" not in content or content["images"].shape[:1] != content[key].shape[:1]:
            raise UsageError(f"{self._path}: has no images and {key} of one length; fetch it again")
        if str(content["images"].dtype) != "uint8" or content["images"].shape[2:] != content[key].shape[1:]:
            kinds = " and ".join(f"{each.dtype} {each.shape}" for each in (content["images"], content[key]))
            raise UsageError(f"{self._path}: its images and {key} are {kinds}; fetch it again")
        beyond = [number for number in self._numbers if not 1 <= number <= len(content["images"])]
        if beyond:
            raise UsageError(f"{root / SPLITS}: names image {beyond[0]} of {len(content['images'])}; fetch it again")
        self.ids: Sequence[str] = [f"nyu-{number:04d}" for number in self._numbers]
        stamp = [self._path.stat().st_size, files.sha256_of_file(root / SPLITS), self._numbers, key]
        self.fingerprint = files.sha256(str(stamp).encode())

    @cached_property
    def _file(self) -> Any:
        try:
            return library("h5py").File(self._path, "r")
        except OSError:
            raise UsageError(f"{self._path}: is not an HDF5 file or is cut short; fetch it again") from None

    def __len__(self) -> int:
        return len(self.ids)

    def paths(self) -> Iterable[Path]:
        """The file with images and depth."""
        return (self._path,)

    def __getitem__(self, index: int, /) -> Sample:
        place = self._numbers[index] - 1
        # MATLAB stores columns first: [N, 3, W, H] and [N, W, H]
        with self._lock, image_files.decoding(f"{self._path} image {place + 1}", "HDF5"):
            image, depth = self._file["images"][place], self._file[self._key][place]
        metres = torch.from_numpy(np.ascontiguousarray(depth.T, dtype=np.float32))[None]
        return Sample(torch.from_numpy(np.ascontiguousarray(image.transpose(0, 2, 1))), {"depth": metres})


def _official(path: Path, split: str) -> list[int]:
    """The official image numbers of a split, from 1; ``val`` is the last tenth of the training list, since
    neighbouring images show the same scene."""
    numbers = matlab.vector(path, "testNdxs" if split == "test" else "trainNdxs")
    return numbers[tail(split, len(numbers), path)]
