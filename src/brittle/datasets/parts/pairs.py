"""Your own images with a mask or a depth map each: folders of the same names under ``images``, ``annotations`` and
``depth``."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from brittle.core.errors import CellError, UsageError
from brittle.core.progress import say
from brittle.datasets.parts.listed import READERS, ListedImages, Row, held_out, images_below, lines, nonempty, thirds
from brittle.datasets.parts.splits import child, split_folders
from brittle.datasets.parts.walk import files_below
from brittle.types import image_files
from brittle.types.target import void_mark

KINDS = {"mask": ("annotations", (".png",)), "depth": ("depth", (".png", ".npy", ".tif", ".tiff"))}
MOST_CLASSES = 65535
MOST_FOUND = 255  # classes that numbers in masks are taken for; with more they are rather instances or a depth


def is_pairs(root: Path) -> bool:
    """Whether the folder is laid out as pairs."""
    return child(root, "images").is_dir() and any(child(root, folder).is_dir() for folder, _ in KINDS.values())


def pairs(root: Path, split: str, classes: int, scale: float, licence: str) -> ListedImages:
    """One split of a folder of pairs.

    Args:
        classes: number of classes in the masks; 0 takes ``classes.txt``, else the numbers in the masks.
        scale: metres per step of an integer depth image.

    Raises:
        UsageError: an image without its mask or depth, or no images.
    """
    targets = {
        kind: _Targets(place, ends) for kind, (name, ends) in KINDS.items() if (place := child(root, name)).is_dir()
    }
    images = child(root, "images")
    found = images_below(images)
    every = [_row(images, path, targets) for path in found.paths]
    rows = nonempty(_split(images, every, split), root, split)
    names: dict[str, Sequence[str]] = dict.fromkeys(targets, ())
    if "mask" in targets:
        names["mask"] = _names(root, every, classes, verbose=split == "test")
    passed = found.passed + Counter({f"{kind} files of no image": each.unused for kind, each in targets.items()})
    for each in targets.values():
        passed += each.passed
    readers = {**READERS, "depth": lambda path: image_files.read_depth(path, scale)}
    stamp = f"{scale} {names}"
    return ListedImages(rows, names, licence=licence, readers=readers, stamp=stamp, touched=True, passed=passed)


class _Targets:
    """The files of one kind of target, found by the path of their image without its suffix, in any case where no other
    is spelled so.

    Args:
        ends: suffixes, the first of which counts where there are several files.
    """

    def __init__(self, folder: Path, ends: Sequence[str]) -> None:
        paths, self.passed = files_below(folder, ends)
        self._folder, self._ends = folder, ends
        self._exact: dict[str, list[Path]] = {}
        self._folded: dict[str, list[Path]] = {}
        for path in sorted(paths, key=lambda path: ends.index(path.suffix.lower())):
            stem = path.relative_to(folder).with_suffix("").as_posix()
            self._exact.setdefault(stem, []).append(path)
            self._folded.setdefault(stem.lower(), []).append(path)
        self.unused = len(self._exact)

    def of(self, inner: Path, image: Path) -> Path:
        """The file of an image; UsageError where it has none."""
        stem = inner.with_suffix("").as_posix()
        found = self._exact.get(stem) or self._folded.get(stem.lower(), [])
        if not found:
            first = (self._folder / inner).with_suffix(self._ends[0])
            raise UsageError(f"{image}: has no {first} (or {', '.join(self._ends)}); add it, or remove the image")
        self.unused -= 1
        return found[0]


def _row(images: Path, path: Path, kinds: Mapping[str, _Targets]) -> Row:
    inner = path.relative_to(images)
    return Row(f"images/{inner.as_posix()}", path, {kind: each.of(inner, path) for kind, each in kinds.items()})


def _split(images: Path, every: Sequence[Row], split: str) -> list[Row]:
    """Rows of a split: by folder where there is one for training, else by a hash of the names."""
    given = split_folders(images, deep=False)
    parts = {name: [row for row in every if row.name.split("/")[1] == place] for name, place in given.items()}
    if "train" not in given:
        if split == "test":
            say(f"{images}: no train/, so images are split by a hash of their names: 70 % train, 10 % val, 20 % test")
        kept = set(thirds([row.name for row in every])[split])
        return [row for row in every if row.name in kept]
    if len(given) == 1:
        raise UsageError(f"{images}: {given['train']}/ without val/ or test/; add one, or take the folder away")
    if parts.get("test") and parts.get("val"):
        return parts[split]
    test = "test" if parts.get("test") else "val"
    if split == "test":
        say(f"{images}: test is {given[test]}/; heads are chosen on a tenth of {given['train']}/ held out by name")
        return parts[test]
    return held_out(parts["train"], split)


def _names(root: Path, rows: Sequence[Row], classes: int, *, verbose: bool) -> Sequence[str]:
    """Names of the classes: the setting's count, the lines of ``classes.txt``, or the numbers up to the largest in any
    mask."""
    if (root / "classes.txt").is_file():
        names = [line.strip() for line in lines(root / "classes.txt")]
        if classes not in (0, len(names)):
            raise UsageError(
                f"{root / 'classes.txt'}: has {len(names)} names, but classes={classes}; change one of them"
            )
        return names
    if not classes:
        masks = [path for row in rows if isinstance(path := row.targets["mask"], Path)]
        classes = _largest(tuple((path, path.stat().st_mtime_ns) for path in masks)) + 1
        if verbose:
            say(f"{root}: no classes.txt and no classes=, so the masks were read: classes 0 to {classes - 1}")
        if not 1 <= classes <= MOST_FOUND:
            what = f"{classes} classes in the masks; it must be 1 to {MOST_FOUND}"
            raise UsageError(f"{root}: {what}, say how many with classes=")
    if classes > MOST_CLASSES:
        raise UsageError(f"{root}: classes={classes}; masks hold at most {MOST_CLASSES}")
    return [str(i) for i in range(classes)]


@cache
def _largest(masks: tuple[tuple[Path, int], ...]) -> int:
    """The largest class number in any mask; -1 where all is void."""
    largest = -1
    for path, _ in masks:
        with suppress(CellError):  # an unreadable mask is reported when its image is loaded
            mask = image_files.read_mask(path)
            marks = (void_mark(0), void_mark(MOST_CLASSES))
            largest = max([largest, *(value for value in mask.unique().tolist() if value not in marks)])
    return largest
