"""The folders of splits under the names that people give them, and folders of images beside folders of their
targets, which are no classes."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from brittle.core.errors import UsageError
from brittle.datasets.parts.walk import left_behind, subfolders
from brittle.types import image_files

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
IMAGES = re.compile(r"ima?ge?s?|img|jpeg|photo|picture|rgb|leftimg", re.IGNORECASE)
TARGETS = re.compile(r"mask|label|annot|^ann(_|$)|segm|depth|disparit|^gt|ground.?truth", re.IGNORECASE)


def split_of(name: str) -> str:
    """``train``, ``val`` or ``test`` for a folder called so in any of the usual words; empty for another."""
    return next((split for split, words in SPLITS.items() if name.lower() in words), "")


def split_folders(root: Path, *, deep: bool = True) -> dict[str, str]:
    """The names of the folders in ``root`` that are splits, by ``train``, ``val`` and ``test``: called so, and, where
    they are ``deep``, with folders inside. A folder of images that is called so is a class.

    Raises:
        UsageError: two folders are one split; or all folders are called after splits, and the images in them have no
            class.
    """
    names = subfolders(root)
    found: dict[str, str] = {}
    for name in names:
        split = split_of(name)
        if not split or (deep and not subfolders(root / name)):
            continue
        if split in found:
            raise UsageError(f"{root}: {found[split]}/ and {name}/ are both the {split} split; put them together")
        found[split] = name
    if names and not found and len(names) > 1 and all(map(split_of, names)) and any(has_images(root, n) for n in names):
        raise UsageError(f"{root}: {', '.join(names)} hold images without a class; sort them into {names[0]}/CLASS/")
    return found


def has_images(root: Path, name: str) -> bool:
    """Whether images lie directly in a folder."""
    ends = tuple(image_files.SUFFIXES)
    with os.scandir(root / name) as entries:
        return any(entry.name.lower().endswith(ends) and not left_behind(entry.name) for entry in entries)


def refuse_pairs(folder: Path, names: Sequence[str]) -> None:
    """Raise UsageError where the folders are no classes, but images and their masks or depth."""
    targets = [name for name in names if TARGETS.search(name)]
    images = [name for name in names if IMAGES.search(name) and name not in targets]
    if images and targets:
        raise UsageError(
            f"{folder}: {images[0]}/ and {targets[0]}/ look like images and their targets, not classes; call them "
            "DIR/images/{train,val,test} and DIR/annotations/{train,val,test} (masks) or DIR/depth/..., or rename them"
        )


def child(root: Path, name: str) -> Path:
    """The folder of that name in ``root``, in any case."""
    exact = root / name
    if exact.is_dir() or not root.is_dir():
        return exact
    return next((root / other for other in subfolders(root) if other.lower() == name), exact)
