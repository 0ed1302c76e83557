"""NYU Depth v2, its labelled pairs or the frames of its videos that others have published: ``nyu_depth_v2:DIR``."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from brittle.core import files
from brittle.core.errors import MissingError, UsageError
from brittle.core.traits import DatasetTraits
from brittle.datasets.parts.listed import ListedImages, root_of, with_valid_depth
from brittle.datasets.parts.nyu_frames import Hdf5Frames, ParquetFrames, from_list
from brittle.datasets.parts.nyu_labelled import DATA, Labelled
from brittle.types import DatasetDefaults, Sample

Frames = Labelled | ListedImages | Hdf5Frames | ParquetFrames
VALID = (1e-3, 10.0)  # metres
EIGEN = (slice(45, 471), slice(41, 601))  # rows and columns that Eigen et al. 2014 evaluate
TRAITS = DatasetTraits(
    licence="none stated (Silberman et al. 2012); for research",
    source="labelled: https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html (nyu_depth_v2_labeled.mat) and "
    ".../indoor_seg_sup/splits.mat; 24k: https://github.com/cleinc/bts (sync.zip, official_splits, and the lists in "
    "train_test_inputs); 47k: https://github.com/dwofk/fast-depth (nyudepthv2.tar.gz) or "
    "https://huggingface.co/datasets/sayakpaul/nyu_depth_v2; 50k: https://github.com/ialhashim/DenseDepth "
    "(nyu_data.zip)",
    layout="what lies in DIR decides, or frames= where several do. labelled: nyu_depth_v2_labeled.mat (HDF5) and "
    "splits.mat. 24k: nyudepthv2_{train,test}_files_with_gt.txt, in DIR or train_test_inputs, "
    "sync/SCENE/{rgb_N.jpg,sync_depth_N.png} and official_splits/test/SCENE/... (16-bit millimetres). 47k: "
    "train/SCENE/N.h5 and val/official/N.h5, in DIR or nyudepthv2 (rgb, depth in metres), or "
    "data/{train,validation}-*.parquet (image, depth_map in metres). 50k: nyu2_{train,test}.csv, "
    "nyu2_train/SCENE_out/{N.jpg,N.png} (8 bit, 255 is 10 m) and nyu2_test/{N_colors.png,N_depth.png} (16-bit "
    "millimetres), in DIR, data or nyu_data/data",
    protocol="train by frames: labelled 795 (official), 24k 24,231 (BTS), 47k 47,584 (FastDepth), 50k 50,688 (Hu et "
    "al.); a tenth of it is val: the end of the list, else whole scenes by name; test is the official 654; 480x640; "
    "depth in (0.001, 10] m is valid; test pixels outside Eigen's crop (rows 45:471, columns 41:601) are void unless "
    "crop=none",
    rules={"depth": {"resize": "none", "whole": True}},
)


class NyuDepth(DatasetDefaults):
    """One split of any of the versions. Target: ``depth`` in metres, void outside (0.001, 10] m and, where
    ``cropped``, outside Eigen's crop."""

    licence = TRAITS.licence
    classes: Mapping[str, Sequence[str]] = {"depth": ()}

    def __init__(self, frames: Frames, cropped: bool) -> None:
        self._frames, self._cropped = frames, cropped
        self.ids = frames.ids
        self.fingerprint = files.sha256(f"{frames.fingerprint} {cropped} {VALID}")

    def __len__(self) -> int:
        return len(self._frames)

    def paths(self) -> Iterable[Path]:
        """As its frames have them."""
        return self._frames.paths()

    @property
    def passed_over(self) -> Mapping[str, int]:
        return self._frames.passed_over

    def raw(self, index: int, /) -> Sample:
        """The sample with depth as stored."""
        return self._frames.raw(index)

    def glance(self, index: int, kind: str, /) -> tuple[Sequence[int], Tensor]:
        """As its frames have it, void where it is not scored."""
        size, depth = self._frames.glance(index, kind)
        return size, self.clean(Sample(depth, {kind: depth})).targets[kind]

    def __getitem__(self, index: int, /) -> Sample:
        return self.clean(self.raw(index))

    def clean(self, sample: Sample, /) -> Sample:
        """The sample with void (0) for depth outside the valid range and outside the crop."""
        sample = with_valid_depth(sample, *VALID)
        if not self._cropped:
            return sample
        inner = torch.zeros_like(sample.targets["depth"])
        inner[:, *EIGEN] = sample.targets["depth"][:, *EIGEN]
        return sample._replace(targets={"depth": inner})


def nyu_depth_v2(
    argument: str,
    split: str,
    /,
    *,
    frames: Literal["", "labelled", "24k", "47k", "50k"] = "",
    crop: Literal["eigen", "none"] = "eigen",
    depth: Literal["filled", "raw"] = "filled",
) -> NyuDepth:
    """NYU Depth v2 (Silberman et al. 2012). The labelled pairs and the frames in HDF5 need h5py.

    Args:
        argument: the folder.
        frames: which version, where several lie in the folder.
        crop: which test pixels count; training always uses all.
        depth: of the labelled pairs, ``filled`` is the file's in-painted ``depths``, ``raw`` its ``rawDepths`` with
            holes.

    Raises:
        MissingError: the folder or a file is missing.
        UsageError: a file is damaged, several versions are there, or a library is not installed.
    """
    root = root_of("nyu_depth_v2", argument, "it must hold one of the published versions, see brittle data info")
    found = {name: mark for name, version in VERSIONS.items() if (mark := version.mark(root))}
    name = frames or next(iter(found), "")
    if name not in found:
        what = f"{name} (mark: {', '.join(VERSIONS[name].marks)})" if name else f"none of {', '.join(VERSIONS)}"
        raise MissingError(f"{root}: {what} is there; see brittle data info nyu_depth_v2")
    if len(found) > 1 and not frames:
        raise UsageError(f"{root}: holds {' and '.join(found)}; say which with frames={name}")
    if depth == "raw" and name != "labelled":
        raise UsageError(f"{root}: depth=raw is a choice of the labelled pairs, not of {name}; leave it out")
    source = VERSIONS[name].read(root, found[name], split, depth)
    return NyuDepth(source, crop == "eigen" and split == "test")


class Version(NamedTuple):
    """One of the published versions: ``marks`` are patterns of a file by which it is known, ``read`` makes (folder,
    that file, split, the setting ``depth``) a data set."""

    marks: Sequence[str]
    read: Callable[[Path, Path, str, str], Frames]

    def mark(self, root: Path) -> Path | None:
        """The file by which it is known; None where it is not in the folder."""
        return next((path for mark in self.marks for path in root.glob(mark)), None)


def _labelled(_root: Path, mark: Path, split: str, depth: str) -> Frames:
    return Labelled(mark.parent, split, "depths" if depth == "filled" else "rawDepths")


def _synchronised(_root: Path, mark: Path, split: str, _depth: str) -> Frames:
    inner = ("official_splits/test", "test", ".") if split == "test" else ("sync", "train", ".")
    bases = [top / each for top in (mark.parent, mark.parent.parent) for each in inner]
    return from_list(mark.with_name(LIST.format("test" if split == "test" else "train")), bases, split, None)


def _hdf5_or_parquet(root: Path, mark: Path, split: str, _depth: str) -> Frames:
    return ParquetFrames(root, split) if mark.suffix == ".parquet" else Hdf5Frames(mark.parents[2], split)


def _csv(_root: Path, mark: Path, split: str, _depth: str) -> Frames:
    part = "test" if split == "test" else "train"
    return from_list(mark.with_name(CSV.format(part)), [mark.parent, mark.parent / "data"], split, ",")


LIST, CSV = "nyudepthv2_{}_files_with_gt.txt", "nyu2_{}.csv"
VERSIONS = {
    "labelled": Version((DATA,), _labelled),
    "24k": Version((LIST.format("train"), f"*/{LIST.format('train')}"), _synchronised),
    "47k": Version(
        ("train/*/*.h5", "nyudepthv2/train/*/*.h5", "*.parquet", "data/*.parquet", "default/*/*.parquet"),
        _hdf5_or_parquet,
    ),
    "50k": Version(
        tuple(f"{place}{CSV.format('train')}" for place in ("", "data/", "nyu_data/", "nyu_data/data/")), _csv
    ),
}
