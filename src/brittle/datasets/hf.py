"""Data sets of the Hugging Face hub as parquet, from its cache or a folder: ``hf:ORG/NAME(task=segmentation,
mask=annotation)``."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brittle.core import files
from brittle.core.errors import CellError, MissingError, UsageError
from brittle.core.traits import DatasetTraits
from brittle.datasets.parts import parquet
from brittle.datasets.parts.listed import chosen, library, with_valid_depth, zero_is_void
from brittle.datasets.parts.readable import Readable
from brittle.planning.identity import task_of
from brittle.types import MASK, Count, DatasetDefaults, Positive, Sample, image_files

MOST_CLASSES = 100_000  # twice what the largest published label sets have


class Hub(DatasetDefaults):
    """One split of parquet shards, or the part of it that is held out.

    Args:
        columns: the column of the image and of each kind of target.
        rows: which rows of the shards.
        scale: metres per step of an integer depth image.
        zero_void: masks in which 0 is void and class c is stored as c + 1.
    """

    licence = "see its card on the hub"

    def __init__(
        self,
        shards: parquet.Shards,
        name: str,
        columns: Mapping[str, str],
        rows: Sequence[int],
        names: Mapping[str, Sequence[str]],
        *,
        scale: float,
        zero_void: bool,
    ) -> None:
        how = {"scale": scale, "zero_void": zero_void}
        self._shards, self._columns, self._rows, self.classes = shards, columns, rows, names
        self._scale, self._zero_void = scale, zero_void
        self._place = {word: i for i, word in enumerate(names.get("label", ()))}
        self._name = name
        self._labels = shards.column(columns["label"]) if "label" in columns else []
        if self._labels:
            self._validate_labels(self._labels)
        self.fingerprint = files.sha256(f"{shards.stamp} {dict(columns)} {len(rows)} {sum(rows)} {names} {how}")

    @cached_property
    def ids(self) -> Sequence[str]:
        return [f"{self._name}-{i:07d}" for i in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def paths(self) -> Iterable[Path]:
        """The parquet files."""
        return self._shards.paths

    def _validate_labels(self, values: Sequence[Any]) -> None:
        """Raise UsageError unless every label of the split is one of the classes."""
        count = len(self.classes["label"])
        for i in self._rows:
            value = values[i]
            if (
                (value not in self._place)
                if isinstance(value, str)
                else not (isinstance(value, int) and 0 <= value < count)
            ):
                hint = "name a split that has labels with split_test=, or fix the data set"
                raise UsageError(f"{self._name}-{i:07d}: label {value!r} is none of the {count} classes; {hint}")

    def raw(self, index: int, /) -> Sample:
        """The sample with depth as stored in its column."""
        row = self._shards.row(self._rows[index])
        read = {"label": self._label, "mask": self._mask, "depth": self._depth}
        targets = {
            kind: read[kind](row[column], self.ids[index]) for kind, column in self._columns.items() if kind != "image"
        }
        return Sample(image_files.read(parquet.content(row[self._columns["image"]], self.ids[index])), targets)

    def glance(self, index: int, kind: str, /) -> tuple[Sequence[int], Tensor]:
        """Size of the image (H, W) and its target, without decoding the image; for a label no row is read."""
        place, name = self._rows[index], self.ids[index]
        if kind == "label":
            return (), self._label(self._labels[place], name)
        row = self._shards.row(place)
        target = {"mask": self._mask, "depth": self._depth}[kind](row[self._columns[kind]], name)
        return image_files.size(parquet.content(row[self._columns["image"]], name)), target

    def clean(self, sample: Sample, /) -> Sample:
        """The sample with void (0) for depth that is not a finite number above 0."""
        return with_valid_depth(sample)

    def __getitem__(self, index: int, /) -> Sample:
        return self.clean(self.raw(index))

    def _label(self, value: Any, _name: str) -> Tensor:
        return torch.tensor(self._place[value] if isinstance(value, str) else int(value))

    def _mask(self, value: Any, name: str) -> Tensor:
        if isinstance(value, list):
            mask = torch.from_numpy(_listed(value, name))
            if mask.dim() != 2 or mask.is_floating_point():
                raise CellError(f"{name}: mask is {mask.dtype} {list(mask.shape)}; it must be whole numbers [H, W]")
            mask = mask.long()
        else:
            mask = image_files.read_mask(parquet.content(value, name))
        classes = len(self.classes["mask"])
        return zero_is_void(mask, classes) if self._zero_void else MASK.scored(mask, classes)

    def _depth(self, value: Any, name: str) -> Tensor:
        if isinstance(value, list):
            metres = torch.from_numpy(_listed(value, name, np.float32))
            if metres.dim() == 3 and len(metres) == 1:
                metres = metres[0]
            if metres.dim() != 2:
                raise CellError(f"{name}: depth is {list(metres.shape)}; it must be metres [H, W]")
            return metres[None]
        return image_files.read_depth(parquet.content(value, name), self._scale)


def download(argument: str, *, revision: str, **_others: object) -> Path:
    """Download the parquet files of ``ORG/NAME`` into the hub's cache; returns their folder.

    Raises:
        OSError, ValueError: the hub cannot be reached, or has no such data set.
    """
    return Path(
        library("huggingface_hub").snapshot_download(
            argument, repo_type="dataset", revision=revision or None, allow_patterns="*.parquet"
        )
    )


def _listed(value: list[Any], name: str, dtype: Any = None) -> NDArray[Any]:
    """A list of rows as an array of numbers; CellError where it is none, such as rows of unequal length."""
    with image_files.decoding(name, "an array of numbers"):
        array = np.array(value, dtype=dtype)
        if array.dtype.kind not in "biuf":
            raise TypeError(array.dtype)
        return array


def hf(
    argument: str,
    split: str,
    /,
    *,
    task: str = "classification",
    image: str = "image",
    label: str = "",
    mask: str = "",
    depth: str = "",
    classes: Count = 0,
    zero_void: bool = False,
    depth_scale: Positive = 0.001,
    split_train: str = "train",
    split_val: str = "",
    split_test: str = "",
    config: str = "",
    revision: str = "",
    skip_unreadable: bool = False,
) -> Hub | Readable:
    """A data set in the hub's parquet layout; nothing is downloaded here.

    Args:
        argument: ``ORG/NAME`` in the hub's cache, or a folder with parquet files.
        task: its kind of target (label, mask, depth) is read from the column of that name where none is named below.
        image, label, mask, depth: columns; a target without one is left out.
        classes: number of classes; 0 takes the hub's names, else the words or the largest number in the training
            labels.
        zero_void: masks in which 0 is void and class c is stored as c + 1, as in ADE20k.
        depth_scale: metres per step of an integer depth image.
        split_train, split_val, split_test: the hub's names of the splits.
        config: the configuration, where the data set has several; empty for the default one.
        revision: commit, tag or branch on the hub; empty for its main branch.
        skip_unreadable: leave out images that cannot be read and report how many, instead of failing.

    Raises:
        MissingError: not in the cache, no such folder, or shards are missing.
        UsageError: no such column or split, or pyarrow is not installed.
    """
    if not argument:
        raise MissingError("hf: no data set given; write hf:ORG/NAME or hf:DIR with parquet files in DIR")
    root = parquet.snapshot(argument, revision)
    kind = task_of(task).target
    targets = {key: value for key, value in {"label": label, "mask": mask, "depth": depth}.items() if value} or (
        {kind.name: kind.name} if kind else {}
    )
    columns = {"image": image, **targets}
    paths = parquet.shards(root, config)
    names = _published(paths, split_train, split_val, split_test)
    shards = {
        part: parquet.Shards(root, paths[name], list(columns.values()))
        for part, name in names.items()
        if part in ("train", split)
    }
    rows, source = _rows(shards, names, split)
    if not rows:
        raise UsageError(f"{root}: the {split} split ({names[source]}) is empty; name another with split_{split}=")
    titles = {key: _classes(shards["train"], key, value, classes) for key, value in targets.items()}
    data = Hub(shards[source], f"{names[source]}", columns, rows, titles, scale=depth_scale, zero_void=zero_void)
    return Readable(data, f"{argument} {split}") if skip_unreadable else data


def _published(available: Mapping[str, object], train: str, val: str, test: str) -> dict[str, str]:
    """The hub's name of each of our splits; no ``val`` where it is held out of the training split."""
    second = next((name for name in ("validation", "val", "valid", "dev") if name in available), "")
    test = test or ("test" if "test" in available else second)
    val = val or (second if second != test else "")
    names = {"train": train, "val": val, "test": test}
    for part in [part for part, name in names.items() if (part != "val" or name) and name not in available]:
        raise UsageError(
            f"no split {names[part] or part!r} among the parquet files, which have {', '.join(available)}; say "
            f"split_{part}=NAME"
        )
    return {part: name for part, name in names.items() if name}


def _rows(shards: Mapping[str, parquet.Shards], names: Mapping[str, str], split: str) -> tuple[list[int], str]:
    """The row numbers of one of our splits, and the name of the published split that they are in."""
    if "val" in names or split == "test":
        return list(range(len(shards[split]))), split
    every = {f"{names['train']}-{i:07d}": i for i in range(len(shards["train"]))}
    return [every[name] for name in chosen(list(every), split)], "train"


def _classes(train: parquet.Shards, kind: str, column: str, classes: int) -> Sequence[str]:
    if kind not in ("label", "mask"):
        return ()
    if classes > MOST_CLASSES:
        raise UsageError(f"classes={classes}: there can be at most {MOST_CLASSES}")
    if classes:
        return [str(i) for i in range(classes)]
    if names := train.class_names(column):
        return names
    if kind == "mask":
        raise UsageError(f"the masks in {column!r} come without names; say how many classes there are with classes=")
    values = train.column(column)
    if not values:
        return ()
    if isinstance(values[0], str):
        return sorted({value for value in values if isinstance(value, str)})
    place, largest = max(enumerate(value if isinstance(value, int) else -1 for value in values), key=lambda row: row[1])
    if largest >= MOST_CLASSES:
        raise UsageError(f"train-{place:07d}: label {largest} would make {largest + 1} classes; fix it or say classes=")
    return [str(i) for i in range(largest + 1)]


TRAITS = DatasetTraits(
    own=True,
    licence="see its card on the hub",
    source="https://huggingface.co/datasets",
    layout=(
        "hf:ORG/NAME in the hub's cache (HF_HOME), or hf:DIR with data/SPLIT-*.parquet, CONFIG/SPLIT-*.parquet or "
        "CONFIG/SPLIT/0000.parquet; the image column holds {bytes, path} or bytes; a label is a number or a word; a "
        "mask is an image of class numbers; depth is an image or a list"
    ),
    protocol=(
        "test is split test, else validation; val is validation where test is another, else a tenth of train; name "
        "them to decide otherwise"
    ),
    download=download,
)
