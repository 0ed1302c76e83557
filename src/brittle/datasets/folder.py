"""Your own images, ``folder:DIR``, one folder per class, or with masks or depth.

``DIR/{train,val,test}/CLASS/*.jpg``, ``DIR/CLASS/*.jpg``, or ``DIR/images`` beside ``DIR/annotations`` or
``DIR/depth``.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.core.progress import say
from brittle.core.traits import DatasetTraits
from brittle.datasets.parts.listed import ListedImages, chosen, root_of, thirds
from brittle.datasets.parts.pairs import is_pairs, pairs
from brittle.datasets.parts.readable import Readable
from brittle.datasets.parts.splits import refuse_pairs, split_folders
from brittle.datasets.parts.walk import HIDDEN, files_below, left_behind, subfolders, words
from brittle.types import Count, DatasetDefaults, Positive, Sample, image_files

TRAITS = DatasetTraits(
    own=True,
    licence="the owner's",
    source="your own images",
    layout=(
        "DIR/{train,val,test}/CLASS/*.jpg or DIR/CLASS/*.jpg; or DIR/images[/{train,val,test}]/*.jpg with "
        "DIR/annotations/.../*.png (a class "
        "number a pixel, 255 void, names in DIR/classes.txt) or DIR/depth/.../*.png (16 bit, mm) or *.npy (metres)"
    ),
    protocol="train, val and test also as training, valid, validation, dev, testing, in any case; "
    "without test/, val/ is test and a tenth of train/ by name is val; without train/ or without both others, names "
    "decide: 70 % train, 10 % val, 20 % test",
)


class Folder(DatasetDefaults):
    """One split of an ImageFolder. Target: ``label``. Ids are paths relative to the root."""

    licence = TRAITS.licence

    def __init__(self, root: Path, split: str) -> None:
        layout = _layout(root, verbose=split == "test")
        images = layout.splits[split]
        if not images:
            raise UsageError(
                f"{root}: the {split} split has no images; put them into {root}/{split}/CLASS/ or {root}/CLASS/, "
                f"and note: {TRAITS.protocol}"
            )
        self._paths, self._labels = [root / name for name in images], [layout.labels[name] for name in images]
        self._passed = layout.passed
        self.ids: Sequence[str] = images
        self.classes: Mapping[str, Sequence[str]] = {"label": layout.classes}

    @property
    def passed_over(self) -> Mapping[str, int]:
        """How many files below the root are no images of a class, for each reason."""
        return self._passed

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every name, label, byte count and modification time: a touched image makes it a changed data
        set."""
        rows = (
            f"{name} {label} {p.stat().st_size} {p.stat().st_mtime_ns}{image_files.revision(p)}"
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


class _Layout(NamedTuple):
    """The images of each split by their paths below the root, the label of each, the classes' names, and how many
    files were passed over, for each reason."""

    splits: dict[str, list[str]]
    labels: dict[str, int]
    classes: list[str]
    passed: Counter[str]


def _layout(root: Path, *, verbose: bool) -> _Layout:
    """The three splits of ``root``; with ``verbose``, says so where they are made rather than given by folders."""
    note = say if verbose else lambda _text: None
    given = split_folders(root)
    if given and "train" not in given:
        raise UsageError(f"{root}: {', '.join(given.values())} without train/; add it, with one folder a class")
    names = subfolders(root / given["train"] if given else root)
    refuse_pairs(root / given.get("train", ""), names)
    labels: dict[str, int] = {}
    passed: Counter[str] = Counter()
    every = {split: _images(root, root / place, names, labels, passed) for split, place in (given or {"": ""}).items()}
    if given:
        passed["beside the splits"] = sum(path.name not in given.values() for path in root.iterdir())
    splits = _made(root, every, given, note)
    if not any(splits.values()):
        seen = f" (passed over: {words(passed)})" if words(passed) else ""
        raise UsageError(f"{root}: no images found; expected {root}/CLASS/*.jpg or {root}/train/CLASS/*.jpg{seen}")
    return _Layout(splits, labels, names, passed)


def _made(
    root: Path, every: Mapping[str, list[str]], given: Mapping[str, str], note: Callable[[str], None]
) -> dict[str, list[str]]:
    """The three splits of the images in the folders that are there."""
    if len(given) < 2:
        (images,) = every.values()
        splits = thirds(images)
        counts = ", ".join(f"{split} {len(splits[split])}" for split in ("train", "val", "test"))
        if images:
            note(f"{root}: no train/ and val/ folders, so images are split by a hash of their names: {counts}")
        return splits
    splits = dict(every)
    if "test" not in splits:
        splits["test"] = splits.pop("val")
    if "val" not in splits:
        train = splits["train"]
        splits |= {split: chosen(train, split) for split in ("train", "val")}
        note(
            f"{root}: test is {given.get('test', given.get('val'))}/; heads are chosen on a tenth of "
            f"{given['train']}/ held out ({len(splits['val'])} images, by name)"
        )
    return splits


def _images(root: Path, folder: Path, names: Sequence[str], labels: dict[str, int], passed: Counter[str]) -> list[str]:
    """The images of the classes in a folder, below the root; their labels and what is passed over are noted down."""
    unknown = [name for name in subfolders(folder) if name not in names]
    if unknown:
        raise UsageError(
            f"{folder / unknown[0]}: no such class in train/, which has {', '.join(names[:5])}; rename or remove it"
        )
    beside = [path.name for path in folder.iterdir() if path.name not in names]
    passed[HIDDEN] += sum(map(left_behind, beside))
    passed["beside the classes"] += len(beside) - sum(map(left_behind, beside))
    images: list[str] = []
    for label, name in enumerate(names):
        if not (folder / name).is_dir():
            continue
        found = files_below(folder / name)
        inner = [path.relative_to(root).as_posix() for path in found.paths]
        labels.update(dict.fromkeys(inner, label))
        passed.update(found.passed)
        images += inner
    return images


def folder(
    argument: str, split: str, /, *, classes: Count = 0, depth_scale: Positive = 0.001, skip_unreadable: bool = False
) -> Folder | ListedImages | Readable:
    """Images in one folder per class; or images under ``images`` with PNG masks under ``annotations`` or depth under
    ``depth``.

    Args:
        argument: the root; see ``TRAITS.protocol`` for the splits.
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
