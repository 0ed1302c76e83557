"""Your own images, ``folder:DIR``, one folder per class, or with masks or depth.

``DIR/{train,val,test}/CLASS/*.jpg``, ``DIR/CLASS/*.jpg``, or ``DIR/images`` beside ``DIR/annotations`` or
``DIR/depth``.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.core.progress import say
from brittle.core.traits import DatasetTraits
from brittle.datasets.parts.listed import ListedImages, root_of
from brittle.datasets.parts.listed import share as _share
from brittle.datasets.parts.pairs import is_pairs, pairs
from brittle.datasets.parts.readable import Readable
from brittle.types import Count, DatasetDefaults, Positive, Sample, image_files

TRAITS = DatasetTraits(
    licence="the owner's",
    source="your own images",
    layout=(
        "DIR/{train,val,test}/CLASS/*.jpg or DIR/CLASS/*.jpg; or DIR/images[/{train,val,test}]/*.jpg with "
        "DIR/annotations/.../*.png (a class "
        "number a pixel, 255 void, names in DIR/classes.txt) or DIR/depth/.../*.png (16 bit, mm) or *.npy (metres)"
    ),
    protocol="without test/, val/ is test and a tenth of train/ by name is val; without train/, names decide: 70 % "
    "train, 10 % val, 20 % test",
)


class Folder(DatasetDefaults):
    """One split of an ImageFolder. Target: ``label``. Ids are paths relative to the root."""

    licence = TRAITS.licence

    def __init__(self, root: Path, split: str) -> None:
        images, names = _layout(root, verbose=split == "test")[split]
        if not images:
            raise UsageError(
                f"{root}: the {split} split has no images; put them into {root}/{split}/CLASS/ or {root}/CLASS/, "
                f"and note: {TRAITS.protocol}"
            )
        self._paths, self._labels = [root / name for name, _ in images], [label for _, label in images]
        self.ids: Sequence[str] = [name for name, _ in images]
        self.classes: Mapping[str, Sequence[str]] = {"label": names}

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every name, label, byte count and modification time: a touched image makes it a changed data
        set."""
        rows = (
            f"{name} {label} {p.stat().st_size} {p.stat().st_mtime_ns}"
            for name, label, p in zip(self.ids, self._labels, self._paths)
        )
        return files.sha256("\n".join(rows))

    def __len__(self) -> int:
        return len(self._paths)

    def paths(self) -> Iterable[Path]:
        """The images."""
        return self._paths

    def glance(self, index: int, kind: str, /) -> tuple[Sequence[int], Tensor]:
        """The label alone; no file is opened."""
        return (), torch.tensor(self._labels[index])

    def __getitem__(self, index: int, /) -> Sample:
        return Sample(image_files.read(self._paths[index]), {"label": torch.tensor(self._labels[index])})


Split = tuple[list[tuple[str, int]], list[str]]  # (relative path, label) of each image, and the classes' names


def _layout(root: Path, *, verbose: bool) -> dict[str, Split]:
    """The three splits of ``root``; with ``verbose``, says so where they are made rather than given by folders."""
    note = say if verbose else lambda _text: None
    kept = [split for split in ("train", "val", "test") if (root / split).is_dir()]
    if "train" in kept and len(kept) > 1:
        names = sorted(path.name for path in (root / "train").iterdir() if path.is_dir())
        splits = {split: _images(root, root / split, names) for split in kept}
        if "test" not in splits:
            splits["test"] = splits.pop("val")
        if "val" not in splits:
            splits["val"] = [row for row in splits["train"] if _share(row[0]) < 0.1]
            splits["train"] = [row for row in splits["train"] if _share(row[0]) >= 0.1]
            note(
                f"{root}: test is {kept[-1]}/; heads are chosen on a tenth of train/ held out "
                f"({len(splits['val'])} images, by name)"
            )
    else:
        names = sorted(path.name for path in root.iterdir() if path.is_dir())
        every = _images(root, root, names)
        splits = {
            "test": [row for row in every if _share(row[0]) >= 0.8],
            "val": [row for row in every if 0.7 <= _share(row[0]) < 0.8],
            "train": [row for row in every if _share(row[0]) < 0.7],
        }
        counts = ", ".join(f"{split} {len(splits[split])}" for split in ("train", "val", "test"))
        if every:
            note(f"{root}: no train/ and val/ folders, so images are split by a hash of their names: {counts}")
    if not any(splits.values()):
        raise UsageError(f"{root}: no images found; expected {root}/CLASS/*.jpg or {root}/train/CLASS/*.jpg")
    return {split: (rows, names) for split, rows in splits.items()}


def _images(root: Path, folder: Path, names: Sequence[str]) -> list[tuple[str, int]]:
    unknown = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name not in names)
    if unknown:
        raise UsageError(
            f"{folder / unknown[0]}: no such class in train/, which has {', '.join(names[:5])}; rename or remove it"
        )
    rows = (
        (path.relative_to(root).as_posix(), label)
        for label, name in enumerate(names)
        for path in sorted((folder / name).rglob("*"))
        if path.suffix.lower() in image_files.SUFFIXES and path.is_file()
    )
    return list(rows)


def folder(
    argument: str, split: str, /, *, classes: Count = 0, depth_scale: Positive = 0.001, skip_unreadable: bool = False
) -> Folder | ListedImages | Readable:
    """Images in one folder per class; or images under ``images`` with PNG masks under ``annotations`` or depth under
    ``depth``.

    Args:
        argument: the root. With ``train`` and ``val`` or ``test`` inside, those are the splits (without ``test``,
            ``val`` is the test split and a tenth of ``train`` is held out); otherwise each image's name decides: 70 %
            train, 10 % val, 20 % test.
        classes: number of classes in masks; 0 takes the lines of ``classes.txt``, else the largest number found in
            them.
        depth_scale: metres per step of an integer depth image; .npy and float images are in metres.
        skip_unreadable: leave out images that cannot be read and report how many, instead of failing.

    Raises:
        MissingError: no such folder.
        UsageError: no images, a class that is not in ``train``, or an image without its mask or depth.
    """
    root = root_of("folder", argument, "it must hold one folder a class, or images and annotations or depth")
    dataset = pairs(root, split, classes, depth_scale, TRAITS.licence) if is_pairs(root) else Folder(root, split)
    return Readable(dataset, f"{root} {split}") if skip_unreadable else dataset
