"""NYU Depth v2, the frames of its videos on which depth is usually trained, as others have published them: lists of
pairs of files, a file of HDF5 a frame, or the hub's parquet."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from brittle.core import files
from brittle.core.errors import CellError, MissingError, UsageError
from brittle.datasets.parts import parquet
from brittle.datasets.parts.arrays import tail
from brittle.datasets.parts.listed import ListedImages, Row, chosen, library, lines, nonempty
from brittle.datasets.parts.walk import files_below, spelled
from brittle.types import DatasetDefaults, Sample, image_files

SCENE = re.compile(r"(.*_\d{4})[a-z]?(_out)?")
"""A scene in the name of its folder; its parts a, b, ... show the same room."""
STEP = 10 / 255  # metres a step of an 8-bit map (Hu et al. 2019)


def from_list(path: Path, bases: Sequence[Path], split: str, cut: str | None) -> ListedImages:
    """The pairs that a list names, an image and its depth a line.

    Args:
        bases: folders, in one of which the files lie under the end of their listed paths: what leads there differs
            between copies of one list, and may be absolute.
        cut: what is between the columns; None for white space.

    Raises:
        MissingError: no list, or not every file that it names.
        UsageError: a line names no pair.
    """
    listed: dict[str, tuple[str, ...]] = {}
    for line in lines(path):
        columns = tuple(part.strip().replace("\\", "/") for part in line.split(cut)[:2])
        if len(columns) < 2:
            raise UsageError(f"{path}: the line {line[:60]!r} names no image and its depth; fetch it again")
        listed[columns[0]] = columns
    base, lead = _place(path, bases, list(listed))
    rows = [_row(base, [_parts(name)[lead:] for name in pair]) for pair in listed.values()]
    wanted = [each for row in rows for each in (row.image, *row.targets.values()) if isinstance(each, Path)]
    missing = [each for each in wanted if not each.is_file()]
    if missing:
        raise MissingError(f"{path}: {len(missing)} of {len(wanted)} files are not there, the first {missing[0]}")
    kept = rows if split == "test" else _of_scenes(rows, split)
    return ListedImages(nonempty(kept, path, split), {"depth": ()}, licence="", readers={"depth": read_depth})


def read_depth(path: Path) -> Tensor:
    """Depth in metres of a map in millimetres, or in 255ths of 10 m where no number in it has more than 8 bits."""
    numbers = image_files.read_depth(path, 1.0).double()
    return (numbers * (STEP if numbers.max() < 256 else 0.001)).float()


def _place(path: Path, bases: Sequence[Path], names: Sequence[str]) -> tuple[Path, int]:
    """In which folder the images of a list lie, and how many leading folders of their listed paths are not there."""
    for parts in map(_parts, names):
        for base in bases:
            for lead in range(len(parts) - 1):
                if spelled(base.joinpath(*parts[lead:])).is_file():
                    return base, lead
    first = f", such as {names[0]}" if names else ""
    raise MissingError(f"{path}: none of its {len(names)} images is in {', '.join(map(str, bases))}{first}")


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".", "..")]


def _row(base: Path, pair: Sequence[Sequence[str]]) -> Row:
    image, depth = (spelled(base.joinpath(*parts)) for parts in pair)
    return Row("/".join(pair[0]), image, {"depth": depth})


def _of_scenes(rows: Sequence[Row], split: str) -> list[Row]:
    """The frames of the scenes that are ``train`` or ``val``: neighbouring frames are all but copies, so whole scenes
    are held out."""
    folders = [row.image.parent.name for row in rows]
    scenes = [match[1] if (match := SCENE.fullmatch(folder)) else folder for folder in folders]
    kept = set(chosen(list(dict.fromkeys(scenes)), split))
    return [row for row, scene in zip(rows, scenes) if scene in kept]


class Hdf5Frames(DatasetDefaults):
    """A file for each frame (FastDepth, Wofk et al. 2019): ``rgb`` uint8 [3,H,W] and ``depth`` float32 [H,W] metres,
    below ``train``, and below ``val``, which is test."""

    classes: Mapping[str, Sequence[str]] = {"depth": ()}
    licence = ""

    def __init__(self, root: Path, split: str) -> None:
        folder = root / ("val" if split == "test" else "train")
        paths, self._passed = files_below(folder, (".h5",))
        rows = [Row(path.relative_to(root).as_posix(), path, {}) for path in paths]
        self._rows = nonempty(rows if split == "test" else _of_scenes(rows, split), folder, split)
        self.ids: Sequence[str] = [row.name for row in self._rows]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every name and byte count."""
        return files.sha256("\n".join(f"{row.name} {row.image.stat().st_size}" for row in self._rows))

    @property
    def passed_over(self) -> Mapping[str, int]:
        return self._passed

    def __len__(self) -> int:
        return len(self._rows)

    def paths(self) -> Iterable[Path]:
        """A file for each frame."""
        return [row.image for row in self._rows]

    def __getitem__(self, index: int, /) -> Sample:
        path, h5py = self._rows[index].image, library("h5py")
        with image_files.decoding(str(path), "a frame in HDF5"), h5py.File(path, "r") as frame:
            rgb, depth = np.asarray(frame["rgb"]), np.asarray(frame["depth"])
        if rgb.dtype != np.uint8 or depth.dtype.kind != "f" or rgb.shape != (3, *depth.shape):
            what = f"rgb is {rgb.dtype} {rgb.shape} and depth {depth.dtype} {depth.shape}"
            raise CellError(f"{path}: {what}; they must be uint8 [3,H,W] and metres [H,W]")
        return Sample(torch.from_numpy(rgb), {"depth": torch.from_numpy(depth.astype(np.float32))[None]})


class ParquetFrames(DatasetDefaults):
    """The hub's columns ``image`` and ``depth_map``, a TIFF of metres, in splits train and validation, which is
    test."""

    classes: Mapping[str, Sequence[str]] = {"depth": ()}
    licence = ""

    def __init__(self, root: Path, split: str) -> None:
        name, every = "validation" if split == "test" else "train", parquet.shards(root, "")
        if name not in every:
            raise MissingError(f"{root}: no parquet files of split {name}, only of {', '.join(every)}; fetch them")
        self._shards = parquet.Shards(root, every[name], ["image", "depth_map"])
        self._rows = range(len(self._shards))[tail(split, len(self._shards), root)]
        self.ids: Sequence[str] = [f"{name}-{row:05d}" for row in self._rows]
        self.fingerprint = files.sha256(f"{self._shards.stamp} {self._rows}")

    def __len__(self) -> int:
        return len(self._rows)

    def paths(self) -> Iterable[Path]:
        """The parquet files."""
        return self._shards.paths

    def __getitem__(self, index: int, /) -> Sample:
        row, name = self._shards.row(self._rows[index]), self.ids[index]
        image, depth = (parquet.content(row[column], name) for column in ("image", "depth_map"))
        return Sample(image_files.read(image), {"depth": image_files.read_depth(depth)})
