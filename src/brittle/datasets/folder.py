"""Your own labelled pictures, one folder a class: ``folder:DIR`` with ``DIR/{train,val,test}/CLASS/*.jpg`` or ``DIR/CLASS/*.jpg``."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch

from brittle import files, pictures
from brittle.errors import MissingError, UsageError
from brittle.progress import say
from brittle.types import Sample


class Folder:
    """One split of an ImageFolder. Target: ``label``. Ids are paths relative to the root."""

    licence = "the owner's"

    def __init__(self, root: Path, split: str) -> None:
        found, names = _layout(root, aloud=split == "test")[split]
        if not found:
            raise UsageError(f"{root}: the {split} split has no pictures; put them into {root}/{split}/CLASS/ or {root}/CLASS/")
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


def _share(name: str) -> float:
    """A number in [0, 1) that belongs to a name, so that new pictures leave the others where they were."""
    return int(files.sha256(name.encode())[:8], 16) / 2**32


def folder(argument: str, split: str, /) -> Folder:
    """Pictures in one folder a class.

    Args:
        argument: the root. With ``train`` and ``val`` or ``test`` inside, those are the splits (without ``test``, ``val`` is the test split
            and a tenth of ``train`` is held out); otherwise each picture's name decides: 70 % train, 10 % val, 20 % test.

    Raises:
        MissingError: no such folder.
        UsageError: no pictures, or a class that is not in ``train``.
    """
    root = Path(argument).expanduser()
    if not argument or not root.is_dir():
        raise MissingError(f"no folder {argument or '(none given)'!r}; write folder:DIR with one folder a class in DIR")
    return Folder(root, split)
