"""What data sets on disk share: a list of image files with a label, a mask or a depth map each, and where and how to
find them."""

import importlib
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from brittle.core import files
from brittle.core.errors import MissingError, UsageError
from brittle.types import DatasetDefaults, Sample, image_files

HELD_OUT = 0.1  # share of a published training split on which heads are chosen, where the publisher has no third split


class Row(NamedTuple):
    """One image: its permanent name, its file, and a label or a file for each kind of target."""

    name: str
    image: Path
    targets: Mapping[str, int | Path]


class Listed(Sequence[Row]):
    """Rows made from their names when they are asked for, since a million of them would fill a gigabyte."""

    def __init__(self, names: Sequence[str], row: Callable[[str], Row]) -> None:
        self.names, self._row = names, row

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        return self._row(self.names[operator.index(index)])


Reader = Callable[[Path], Tensor]
READERS: Mapping[str, Reader] = MappingProxyType({"mask": image_files.read_mask, "depth": image_files.read_depth})


class ListedImages(DatasetDefaults):
    """One split: ``rows`` in their order.

    Args:
        classes: names of the classes for each kind of target.
        readers: how a mask or depth file becomes a tensor, by kind; a mask's may map published values to classes.
        depth_range: metres (low, high]; depth outside is void.
        stamp: anything else that decides what is read; part of the fingerprint.
        touched: whether modification times are part of the fingerprint (the user's own folder) or not (a published data
            set).
    """

    def __init__(
        self,
        rows: Sequence[Row],
        classes: Mapping[str, Sequence[str]],
        *,
        licence: str,
        readers: Mapping[str, Reader] = READERS,
        depth_range: tuple[float, float] = (0.0, float("inf")),
        stamp: str = "",
        touched: bool = False,
    ) -> None:
        self.rows, self.classes, self.licence = rows, classes, licence
        self._readers, self._depth_range, self._stamp, self._touched = readers, depth_range, stamp, touched

    @cached_property
    def ids(self) -> Sequence[str]:
        return self.rows.names if isinstance(self.rows, Listed) else [row.name for row in self.rows]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every name, label and byte count of images and targets, and of ``stamp``."""
        return files.sha256("\n".join([f"{self._stamp} {self._depth_range}", *map(self._line, self.rows)]))

    def _line(self, row: Row) -> str:
        return " ".join(
            [
                row.name,
                self._size(row.image),
                *(self._size(t) if isinstance(t, Path) else str(t) for t in row.targets.values()),
            ]
        )

    def _size(self, path: Path) -> str:
        try:
            stat = path.stat()
        except OSError:
            return "absent"
        return f"{stat.st_size} {stat.st_mtime_ns}" if self._touched else str(stat.st_size)

    def __len__(self) -> int:
        return len(self.rows)

    def paths(self) -> Iterable[Path]:
        """Images, masks and depth maps."""
        for row in self.rows:
            yield row.image
            yield from (target for target in row.targets.values() if isinstance(target, Path))

    def raw(self, index: int, /) -> Sample:
        """The sample with depth as stored in its file, invalid values included."""
        row = self.rows[index]
        return Sample(image_files.read(row.image), {kind: self._target(row, kind) for kind in row.targets})

    def glance(self, index: int, kind: str, /) -> tuple[Sequence[int], Tensor]:
        """Size of the image (H, W) and its target, without decoding the image; for a label no file is opened."""
        row = self.rows[index]
        return image_files.size(row.image) if isinstance(row.targets[kind], Path) else (), self._target(row, kind)

    def _target(self, row: Row, kind: str) -> Tensor:
        target = row.targets[kind]
        return self._readers[kind](target) if isinstance(target, Path) else torch.tensor(target)

    def clean(self, sample: Sample, /) -> Sample:
        """The sample with void (0) for depth that is not a finite number in the valid range."""
        return with_valid_depth(sample, *self._depth_range)

    def __getitem__(self, index: int, /) -> Sample:
        return self.clean(self.raw(index))


def with_valid_depth(sample: Sample, low: float = 0.0, high: float = float("inf")) -> Sample:
    """The sample, its depth (if it has one) void wherever it is not a finite number in (``low``, ``high``]."""
    valid = {
        kind: image_files.valid_depth(sample.targets[kind], low, high) for kind in sample.targets.keys() & {"depth"}
    }
    return sample._replace(targets={**sample.targets, **valid})


def mapped(table: Tensor) -> Reader:
    """A reader of masks whose published value v means class ``table[v]``; values beyond the table stay, so that they
    are detected."""

    def reader(path: Path) -> Tensor:
        mask = image_files.read_mask(path)
        return torch.where(mask < len(table), table[mask.clamp(0, len(table) - 1)], mask)

    return reader


ZERO_IS_VOID = torch.tensor([255, *range(254), 255])
"""The table of masks in which 0 is void and class c is stored as c + 1."""


def root_of(name: str, argument: str, wanted: str) -> Path:
    """The data set's folder: ``argument``, else ``BRITTLE_DATA/name``.

    Args:
        wanted: what must be in it, for the message.

    Raises:
        MissingError: there is no such folder.
    """
    shared = os.environ.get("BRITTLE_DATA")
    if not argument and not shared:
        raise MissingError(
            f"{name}: no folder given; write {name}:DIR, or set BRITTLE_DATA so that DIR is $BRITTLE_DATA/{name}; "
            f"{wanted}"
        )
    root = Path(argument).expanduser() if argument else Path(shared or "").expanduser() / name
    if not root.is_dir():
        raise MissingError(f"{name}: no folder {str(root)!r}; {wanted}")
    return root


def inside(root: Path, candidates: Iterable[str], wanted: str) -> Path:
    """The first of the known places below ``root`` that has all of ``wanted`` in it; ``.`` is the root itself.

    Args:
        wanted: files or folders (with commas) that must be in the place.

    Raises:
        MissingError: none of them has all that is wanted.
    """
    needs = wanted.split(", ")
    for place in (".", *candidates):
        if all((root / place / need).exists() for need in needs):
            return root / place
    raise MissingError(
        f"{root}: {wanted} not there, nor in {', '.join(candidates) or 'any folder of it'}; see brittle data info"
    )


def lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        MissingError: no such file.
        UsageError: it is not text.
    """
    if not path.is_file():
        raise MissingError(f"no file {path}; it is part of the data set as published")
    try:
        return [line for line in path.read_text(encoding="utf8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not text; fetch it again") from None


def share(name: str) -> float:
    """A number in [0, 1) derived from a name, so that adding images never moves the others to another split."""
    return int(files.sha256(name)[:8], 16) / 2**32


def held_out(rows: Sequence[Row], split: str) -> list[Row]:
    """``train`` or ``val`` from a published training split, by name."""
    kept = set(chosen([row.name for row in rows], split))
    return [row for row in rows if row.name in kept]


def chosen(names: Sequence[str], split: str, part: float = HELD_OUT) -> list[str]:
    """Those of the names that are ``train`` or ``val``: ``val`` is where a name's hash is below ``part``, at least
    one."""
    shares = [share(name) for name in names]
    cut = max(part, min(shares, default=0.0) + 2**-32)
    return [name for name, place in zip(names, shares) if (place < cut) == (split == "val")]


def nonempty(rows: Sequence[Row], where: Path, split: str) -> Sequence[Row]:
    """The same rows.

    Raises:
        UsageError: there are none.
    """
    if not rows:
        raise UsageError(f"{where}: the {split} split has no images; see brittle data info for the layout")
    return rows


def image_paths(folder: Path) -> list[Path]:
    """Every image below a folder, sorted."""
    if not folder.is_dir():
        raise MissingError(f"no folder {folder}; it is part of the data set as published")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in image_files.SUFFIXES and path.is_file())


def library(name: str) -> Any:
    """An optional library, imported now.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        package = name.partition(".")[0]
        raise UsageError(
            f"this data set needs the package {package!r}; install it with pip install 'brittle[data]'"
        ) from None
