"""NYU Depth v2, the 1,449 labelled pairs of its .mat file with the official split: ``nyu_depth_v2:DIR``."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch

from brittle import files, pictures
from brittle.datasets._arrays import tail
from brittle.datasets._labelled import inside, library, root_of
from brittle.errors import UsageError
from brittle.types import Sample

DATA, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
VALID = (1e-3, 10.0)  # metres
EIGEN = (slice(45, 471), slice(41, 601))  # rows and columns that Eigen et al. 2014 evaluate
LICENCE = "none stated (Silberman et al. 2012); for research"
SOURCE = "https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html (nyu_depth_v2_labeled.mat) and .../indoor_seg_sup/splits.mat"
LAYOUT = "DIR with nyu_depth_v2_labeled.mat (HDF5) and splits.mat (trainNdxs, testNdxs)"
PROTOCOL = (
    "official 795 train (the last tenth of the list, whole scenes in the main, is val) and 654 test; 480x640; depth in (0.001, 10] m is "
    "valid; test pixels outside Eigen's crop (rows 45:471, columns 41:601) are void unless crop=none"
)
RULES = {"depth": {"resize": "none", "whole": True}}  # 480x640 as it is, without windows


class NyuDepth:
    """One split. Target: ``depth`` in metres, void outside (0.001, 10] m and outside the crop. Ids are the official numbers, from 1."""

    licence = LICENCE
    classes: Mapping[str, Sequence[str]] = {"depth": ()}

    def __init__(self, root: Path, split: str, crop: str, kind: str) -> None:
        self._path, self._crop, self._kind = root / DATA, crop if split == "test" else "none", kind
        self._numbers = _official(root / SPLITS, split)
        self._lock = Lock()
        held = self._file
        if kind not in held or "images" not in held or held["images"].shape[:1] != held[kind].shape[:1]:
            raise UsageError(f"{self._path}: has no images and {kind} of one length; fetch it again")
        beyond = [number for number in self._numbers if not 1 <= number <= len(held["images"])]
        if beyond:
            raise UsageError(f"{root / SPLITS}: names picture {beyond[0]} of {len(held['images'])}; fetch it again")
        self.ids: Sequence[str] = [f"nyu-{number:04d}" for number in self._numbers]
        stamp = [self._path.stat().st_size, files.sha256_of_file(root / SPLITS), self._numbers, self._crop, kind, VALID]
        self.fingerprint = files.sha256(str(stamp).encode())

    @cached_property
    def _file(self) -> Any:
        try:
            return library("h5py").File(self._path, "r")
        except OSError:
            raise UsageError(f"{self._path}: is no HDF5 file or is cut short; fetch it again") from None

    def __len__(self) -> int:
        return len(self.ids)

    def raw(self, index: int, /) -> Sample:
        """The sample with depth as the file has it."""
        place = self._numbers[index] - 1
        with self._lock:  # MATLAB stores columns first: [N, 3, W, H] and [N, W, H]
            image, depth = self._file["images"][place], self._file[self._kind][place]
        metres = torch.from_numpy(np.ascontiguousarray(depth.T, dtype=np.float32))[None]
        return Sample(torch.from_numpy(np.ascontiguousarray(image.transpose(0, 2, 1))), {"depth": metres})

    def __getitem__(self, index: int, /) -> Sample:
        return self.clean(self.raw(index))

    def clean(self, sample: Sample) -> Sample:
        """The same with void (0) for depth outside the valid range and outside the crop."""
        depth = pictures.valid_depth(sample.targets["depth"], *VALID)
        if self._crop == "eigen":
            inner = torch.zeros_like(depth)
            inner[:, *EIGEN] = depth[:, *EIGEN]
            depth = inner
        return sample._replace(targets={"depth": depth})


def nyu_depth_v2(
    argument: str, split: str, /, *, crop: Literal["eigen", "none"] = "eigen", depth: Literal["filled", "raw"] = "filled"
) -> NyuDepth:
    """NYU Depth v2 (Silberman et al. 2012), labelled part. Needs h5py and scipy.

    Args:
        argument: the folder with both files.
        crop: which test pixels count; training always uses all.
        depth: ``filled`` is the file's in-painted ``depths``, ``raw`` its ``rawDepths`` with holes.

    Raises:
        MissingError: folder or files are not there.
        UsageError: a file is damaged, or a library is not installed.
    """
    root = inside(root_of("nyu_depth_v2", argument, f"it must hold {DATA} and {SPLITS}"), (), f"{DATA}, {SPLITS}")
    return NyuDepth(root, split, crop, "depths" if depth == "filled" else "rawDepths")


def _official(path: Path, split: str) -> list[int]:
    """The official picture numbers of a split, from 1; ``val`` is the last tenth of the training list, as neighbours show one scene."""
    try:
        held = library("scipy.io").loadmat(path)
        numbers = [int(number) for number in held["testNdxs" if split == "test" else "trainNdxs"].ravel()]
    except (ValueError, KeyError, TypeError, NotImplementedError, OSError) as error:
        raise UsageError(f"{path}: is no MATLAB file with trainNdxs and testNdxs ({type(error).__name__}); fetch it again") from None
    return numbers[tail(split, len(numbers), path)]
