"""NYU Depth v2, the 1,449 labelled pairs of its .mat file with the official split: ``nyu_depth_v2:DIR``."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.core.traits import DatasetTraits
from brittle.datasets.parts import matlab
from brittle.datasets.parts.arrays import tail
from brittle.datasets.parts.listed import inside, library, root_of
from brittle.types import DatasetDefaults, Sample, image_files

DATA, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
VALID = (1e-3, 10.0)  # metres
EIGEN = (slice(45, 471), slice(41, 601))  # rows and columns that Eigen et al. 2014 evaluate
TRAITS = DatasetTraits(
    licence="none stated (Silberman et al. 2012); for research",
    source="https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html (nyu_depth_v2_labeled.mat) and "
    ".../indoor_seg_sup/splits.mat",
    layout="DIR with nyu_depth_v2_labeled.mat (HDF5) and splits.mat (trainNdxs, testNdxs)",
    protocol=(
        "official 795 train (the last tenth of the list, whole scenes in the main, is val) and 654 test; 480x640; "
        "depth in (0.001, 10] m is "
        "valid; test pixels outside Eigen's crop (rows 45:471, columns 41:601) are void unless crop=none"
    ),
    rules={"depth": {"resize": "none", "whole": True}},
)


class NyuDepth(DatasetDefaults):
    """One split. Target: ``depth`` in metres, void outside (0.001, 10] m and outside the crop. Ids are the official
    numbers, from 1."""

    licence = TRAITS.licence
    classes: Mapping[str, Sequence[str]] = {"depth": ()}

    def __init__(self, root: Path, split: str, crop: str, key: str) -> None:
        self._path, self._crop, self._key = root / DATA, crop if split == "test" else "none", key
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
        stamp = [self._path.stat().st_size, files.sha256_of_file(root / SPLITS), self._numbers, self._crop, key, VALID]
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

    def raw(self, index: int, /) -> Sample:
        """The sample with depth as stored in the file."""
        place = self._numbers[index] - 1
        # MATLAB stores columns first: [N, 3, W, H] and [N, W, H]
        with self._lock, image_files.decoding(f"{self._path} image {place + 1}", "HDF5"):
            image, depth = self._file["images"][place], self._file[self._key][place]
        metres = torch.from_numpy(np.ascontiguousarray(depth.T, dtype=np.float32))[None]
        return Sample(torch.from_numpy(np.ascontiguousarray(image.transpose(0, 2, 1))), {"depth": metres})

    def __getitem__(self, index: int, /) -> Sample:
        return self.clean(self.raw(index))

    def clean(self, sample: Sample, /) -> Sample:
        """The sample with void (0) for depth outside the valid range and outside the crop."""
        depth = image_files.valid_depth(sample.targets["depth"], *VALID)
        if self._crop == "eigen":
            inner = torch.zeros_like(depth)
            inner[:, *EIGEN] = depth[:, *EIGEN]
            depth = inner
        return sample._replace(targets={"depth": depth})


def nyu_depth_v2(
    argument: str,
    split: str,
    /,
    *,
    crop: Literal["eigen", "none"] = "eigen",
    depth: Literal["filled", "raw"] = "filled",
) -> NyuDepth:
    """NYU Depth v2 (Silberman et al. 2012), labelled part. Needs h5py.

    Args:
        argument: the folder with both files.
        crop: which test pixels count; training always uses all.
        depth: ``filled`` is the file's in-painted ``depths``, ``raw`` its ``rawDepths`` with holes.

    Raises:
        MissingError: the folder or a file is missing.
        UsageError: a file is damaged, or a library is not installed.
    """
    root = inside(root_of("nyu_depth_v2", argument, f"it must hold {DATA} and {SPLITS}"), (), f"{DATA}, {SPLITS}")
    return NyuDepth(root, split, crop, "depths" if depth == "filled" else "rawDepths")


def _official(path: Path, split: str) -> list[int]:
    """The official image numbers of a split, from 1; ``val`` is the last tenth of the training list, since
    neighbouring images show the same scene."""
    numbers = matlab.vector(path, "testNdxs" if split == "test" else "trainNdxs")
    return numbers[tail(split, len(numbers), path)]
