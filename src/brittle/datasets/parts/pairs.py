"""Your own images with a mask or a depth map each: folders of the same names under ``images``, ``annotations`` and
``depth``."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from brittle.core.errors import CellError, UsageError
from brittle.core.progress import say
from brittle.datasets.parts.listed import READERS, ListedImages, Row, held_out, image_paths, lines, nonempty, share
from brittle.types import image_files

KINDS = {"mask": ("annotations", (".png",)), "depth": ("depth", (".png", ".npy", ".tif", ".tiff"))}
SPLITS = {"train": ("train", "training"), "val": ("val", "validation"), "test": ("test", "testing")}
MOST_CLASSES = 255


def is_pairs(root: Path) -> bool:
    """Whether the folder is laid out as pairs."""
    return (root / "images").is_dir() and any((root / folder).is_dir() for folder, _ in KINDS.values())


def pairs(root: Path, split: str, classes: int, scale: float, licence: str) -> ListedImages:
    """One split of a folder of pairs.

    Args:
        classes: number of classes in the masks; 0 takes ``classes.txt``, else the numbers in the masks.
        scale: metres per step of an integer depth image.

    Raises:
        UsageError: an image without its mask or depth, or no images.
    """
    kinds = {kind: ends for kind, (folder, ends) in KINDS.items() if (root / folder).is_dir()}
    every = [_row(root, path, kinds) for path in image_paths(root / "images")]
    rows = nonempty(_split(root, every, split), root, split)
    names: dict[str, Sequence[str]] = dict.fromkeys(kinds, ())
    if "mask" in kinds:
        names["mask"] = _names(root, every, classes, verbose=split == "test")
    readers = {**READERS, "depth": lambda path: image_files.read_depth(path, scale)}
    return ListedImages(rows, names, licence=licence, readers=readers, stamp=f"{scale} {names}", touched=True)


def _row(root: Path, path: Path, kinds: Mapping[str, Sequence[str]]) -> Row:
    inner = path.relative_to(root / "images")
    targets: dict[str, int | Path] = {}
    for kind, ends in kinds.items():
        places = [(root / KINDS[kind][0] / inner).with_suffix(end) for end in ends]
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise UsageError(f"{path}: has no {places[0]} (or {', '.join(ends)}); add it, or remove the image")
        targets[kind] = place
    return Row(f"images/{inner.as_posix()}", path, targets)


def _split(root: Path, every: Sequence[Row], split: str) -> list[Row]:
    """Rows of a split: by folder where there is one for training, else by a hash of the names."""
    parts = {name: [row for row in every if row.name.split("/")[1] in words] for name, words in SPLITS.items()}
    if not any((root / "images" / word).is_dir() for word in SPLITS["train"]):
        bounds = {"train": (0.0, 0.7), "val": (0.7, 0.8), "test": (0.8, 1.0)}
        if split == "test":
            say(
                f"{root}: no images/train/, so images are split by a hash of their names: 70 % train, 10 % val, 20 "
                "% test"
            )
        return [row for row in every if bounds[split][0] <= share(row.name) < bounds[split][1]]
    if any((root / "images" / word).is_dir() for word in SPLITS["test"]) and parts["val"]:
        return parts[split]
    if split == "test":
        test = "test" if parts["test"] else "val"
        say(f"{root}: test is images/{test}/; heads are chosen on a tenth of images/train/ held out by name")
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
    if not 1 <= classes <= MOST_CLASSES:
        raise UsageError(
            f"{root}: {classes} classes in the masks; it must be 1 to {MOST_CLASSES}, say how many with classes="
        )
    return [str(i) for i in range(classes)]


@cache
def _largest(masks: tuple[tuple[Path, int], ...]) -> int:
    """The largest class number in any mask; -1 where all is void."""
    largest = -1
    for path, _ in masks:
        with suppress(CellError):  # an unreadable mask is reported when its image is loaded
            mask = image_files.read_mask(path)
            largest = max(largest, int(mask[mask != 255].max()) if (mask != 255).any() else -1)
    return largest
