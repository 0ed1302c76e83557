"""Your own pictures, ``folder:DIR``, one folder a class, or with masks or depth.

``DIR/{train,val,test}/CLASS/*.jpg``, ``DIR/CLASS/*.jpg``, or ``DIR/images`` beside ``DIR/annotations`` or ``DIR/depth``.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from brittle import files, pictures
from brittle.datasets._labelled import Pictures, root_of
from brittle.datasets._labelled import share as _share
from brittle.datasets._pairs import is_pairs, pairs
from brittle.datasets._readable import Readable
from brittle.errors import UsageError
from brittle.progress import say
from brittle.types import Count, Positive, Sample

LICENCE = "the owner's"
SOURCE = "your own pictures"
LAYOUT = (
    "DIR/{train,val,test}/CLASS/*.jpg or DIR/CLASS/*.jpg; or DIR/images[/{train,val,test}]/*.jpg with DIR/annotations/.../*.png (a class "
    "number a pixel, 255 void, names in DIR/classes.txt) or DIR/depth/.../*.png (16 bit, mm) or *.npy (metres)"
)
PROTOCOL = "without test/, val/ is test and a tenth of train/ by name is val; without train/, names decide: 70 % train, 10 % val, 20 % test"


class Folder:
    """One split of an ImageFolder. Target: ``label``. Ids are paths relative to the root."""

    licence = LICENCE

    def __init__(self, root: Path, split: str) -> None:
        found, names = _layout(root, aloud=split == "test")[split]
        if not found:
            raise UsageError(
                f"{root}: the {split} split has no pictures; put them into {root}/{split}/CLASS/ or {root}/CLASS/, and note: {PROTOCOL}"
            )
        self._paths, self._labels = [root / name for name, _ in found], [label for _, label in found]
        self.ids: Sequence[str] = [name for name, _ in found]
        self.classes: Mapping[str, Sequence[str]] = {"label": names}

    @cached_property
    def fingerprint(self) -> str:
        """Over every name, label and byte count, and every file's time of change: a touched picture is a changed data set."""
        rows = (f"{name} {label} {p.stat().st_size} {p.stat().st_mtime_ns}" for name, label, p in zip(self.ids, self._labels, self._paths))
        return files.sha256("\n".join(rows).encode())

    def __len__(self) -> int:
        return len(self._paths)

    def glance(self, index: int, _kind: str) -> tuple[Sequence[int], Tensor]:
        """The label alone; no file is opened."""
        return (), torch.tensor(self._labels[index])

    def __getitem__(self, index: int, /) -> Sample:
        return Sample(pictures.read(self._paths[index]), {"label": torch.tensor(self._labels[index])})


Split = tuple[list[tuple[str, int]], list[str]]  # (relative path, label) of each picture, and the classes' names


def _layout(root: Path, *, aloud: bool) -> dict[str, Split]:
    """The three splits of ``root``; where they are made rather than found, that is said if ``aloud``."""
    note = say if aloud else lambda _text: None
    kept = [split for split in ("train", "val", "test") if (root / split).is_dir()]
    if "train" in kept and len(kept) > 1:
        names = sorted(path.name for path in (root / "train").iterdir() if path.is_dir())
        splits = {split: _pictures(root, root / split, names) for split in kept}
        if "test" not in splits:
            splits["test"] = splits.pop("val")
        if "val" not in splits:
            splits["val"] = [row for row in splits["train"] if _share(row[0]) < 0.1]
            splits["train"] = [row for row in splits["train"] if _share(row[0]) >= 0.1]
            note(f"{root}: test is {kept[-1]}/; heads are chosen on a tenth of train/ held out ({len(splits['val'])} pictures, by name)")
    else:
        names = sorted(path.name for path in root.iterdir() if path.is_dir())
        every = _pictures(root, root, names)
        splits = {
            "test": [row for row in every if _share(row[0]) >= 0.8],
            "val": [row for row in every if 0.7 <= _share(row[0]) < 0.8],
            "train": [row for row in every if _share(row[0]) < 0.7],
        }
        counts = ", ".join(f"{split} {len(splits[split])}" for split in ("train", "val", "test"))
        if every:
            note(f"{root}: no train/ and val/ folders, so pictures are split by a hash of their names: {counts}")
    if not any(splits.values()):
        raise UsageError(f"{root}: no pictures found; expected {root}/CLASS/*.jpg or {root}/train/CLASS/*.jpg")
    return {split: (rows, names) for split, rows in splits.items()}


def _pictures(root: Path, folder: Path, names: Sequence[str]) -> list[tuple[str, int]]:
    strange = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name not in names)
    if strange:
        raise UsageError(f"{folder / strange[0]}: no such class in train/, which has {', '.join(names[:5])}; rename or remove it")
    rows = (
        (path.relative_to(root).as_posix(), label)
        for label, name in enumerate(names)
        for path in sorted((folder / name).rglob("*"))
        if path.suffix.lower() in pictures.SUFFIXES and path.is_file()
    )
    return list(rows)


def folder(
    argument: str, split: str, /, *, classes: Count = 0, depth_scale: Positive = 0.001, skip_unreadable: bool = False
) -> Folder | Pictures | Readable:
    """Pictures in one folder a class; or pictures under ``images`` with PNG masks under ``annotations`` or depth under ``depth``.

    Args:
        argument: the root. With ``train`` and ``val`` or ``test`` inside, those are the splits (without ``test``, ``val`` is the test split
            and a tenth of ``train`` is held out); otherwise each picture's name decides: 70 % train, 10 % val, 20 % test.
        classes: number of classes in masks; 0 takes the lines of ``classes.txt``, else the largest number found in them.
        depth_scale: metres of one step of an integer depth picture; .npy and float pictures are metres.
        skip_unreadable: leave out what cannot be read, and say how much, instead of failing at it.

    Raises:
        MissingError: no such folder.
        UsageError: no pictures, a class that is not in ``train``, or a picture without its mask or depth.
    """
    root = root_of("folder", argument, "it must hold one folder a class, or images and annotations or depth")
    made = pairs(root, split, classes, depth_scale, LICENCE) if is_pairs(root) else Folder(root, split)
    return Readable(made, f"{root} {split}") if skip_unreadable else made
