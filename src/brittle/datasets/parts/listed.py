"""What data sets on disk share: a list of image files with a label, a mask or a depth map each, and where and how to
find them."""

import importlib
import operator
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from brittle.core import files
from brittle.core.errors import MissingError, UsageError
from brittle.core.installed import needs
from brittle.datasets.parts.walk import Found, files_below
from brittle.types import DatasetDefaults, Sample, image_files
from brittle.types.target import STANDARD, VOID, void_mark

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
        passed: how many files were passed over, for each reason.
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
        passed: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.rows, self.classes, self.licence = rows, classes, licence
        self._readers, self._depth_range, self._stamp, self._touched = readers, depth_range, stamp, touched
        self._passed = passed

    @property
    def passed_over(self) -> Mapping[str, int]:
        return self._passed

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
                self._size(row.image) + image_files.revision(row.image),
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
        if not isinstance(target, Path):
            return torch.tensor(target)
        return STANDARD[kind].scored(self._readers[kind](target), len(self.classes[kind]))

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


def zero_is_void(mask: Tensor, classes: int) -> Tensor:
    """The classes of a mask in which 0 is void and class c is stored as c + 1; so is what stands for void elsewhere."""
    void = (mask == 0) | (mask == void_mark(classes)) & (mask > classes)
    return torch.where(void, VOID, mask - 1)


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
    """The lines of a text file that are not empty, without white space at their ends; UTF-8, UTF-16 with its mark, else
    Latin-1, with the line ends of any system.

    Raises:
        MissingError: no such file.
        UsageError: it is not text.
    """
    if not path.is_file():
        raise MissingError(f"no file {path}; it is part of the data set as published")
    data = path.read_bytes()
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # of older Windows; every byte is a letter of it
    if "\0" in text:
        raise UsageError(f"{path}: is not text; fetch it again")
    return [line.rstrip() for line in re.split("[\r\n]+", text) if line.strip()]


def listed_names(path: Path, end: str) -> list[str]:
    """The names of images in a list, a line each, with or without the suffix ``end``, with the slashes of any
    system."""
    names = [line.strip().replace("\\", "/") for line in lines(path)]
    return [name[: -len(end)] if name.lower().endswith(end) else name for name in names]


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


def thirds(names: Sequence[str]) -> dict[str, list[str]]:
    """Names without splits: 70 % ``train``, 10 % ``val``, 20 % ``test`` by their hash, but at least one in each where
    there are three."""
    bounds = {"train": (0.0, 0.7), "val": (0.7, 0.8), "test": (0.8, 1.0)}
    place = {name: next(part for part, (low, high) in bounds.items() if low <= share(name) < high) for name in names}
    for part, (low, high) in bounds.items():
        counts = Counter(place.values())
        others = [name for name in names if counts[place[name]] > 1]
        if not counts[part] and others:  # the nearest by hash moves over
            place[min(others, key=lambda name: max(low - share(name), share(name) - high))] = part  # noqa: B023
    return {part: [name for name in names if place[name] == part] for part in bounds}


def nonempty(rows: Sequence[Row], where: Path, split: str) -> Sequence[Row]:
    """The same rows.

    Raises:
        UsageError: there are none.
    """
    if not rows:
        raise UsageError(f"{where}: the {split} split has no images; see brittle data info for the layout")
    return rows


def images_below(folder: Path) -> Found:
    """Every image below a folder, sorted."""
    if not folder.is_dir():
        raise MissingError(f"no folder {folder}; it is part of the data set as published")
    return files_below(folder)


def library(name: str) -> Any:
    """An optional library, imported now.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise UsageError(f"this data set {needs(name.partition('.')[0])}") from None
