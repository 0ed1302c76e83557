"""ImageNet-1k (ILSVRC 2012) as published or as Kaggle lays it out: ``imagenet:DIR``."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from brittle.core.errors import MissingError, UsageError
from brittle.core.traits import DatasetTraits
from brittle.datasets.parts.listed import (
    Listed,
    ListedImages,
    Row,
    chosen,
    image_paths,
    inside,
    library,
    lines,
    nonempty,
    root_of,
)
from brittle.types import image_files

TRAITS = DatasetTraits(
    licence="ImageNet terms of access: non-commercial research and education",
    source="https://www.image-net.org/challenges/LSVRC/2012/ or https://www.kaggle.com/c/imagenet-object-localization-challenge",
    layout=(
        "DIR (or DIR/ILSVRC/Data/CLS-LOC) with train/WNID/*.JPEG and val/WNID/*.JPEG; or a flat "
        "val/ILSVRC2012_val_*.JPEG with LOC_val_solution.csv or ILSVRC2012_devkit_t12/data in DIR"
    ),
    protocol="published train (1 in 100 by name is val) and published val (50,000), which is test; classes are the "
    "sorted WNIDs of train/",
)
KAGGLE = "ILSVRC/Data/CLS-LOC"


def imagenet(argument: str, split: str, /) -> ListedImages:
    """ImageNet-1k (Russakovsky et al. 2015). Target: ``label``, in the order of sorted WNIDs, as in every published
    model.

    Args:
        argument: the folder with ``train`` and ``val``, or the one above ``ILSVRC``.

    Raises:
        MissingError: the folder, images or the labels of a flat ``val`` are missing.
        UsageError: an image of a class that ``train`` does not have.
    """
    root = root_of("imagenet", argument, "it must hold train/WNID/*.JPEG and val")
    folder = inside(root, (KAGGLE,), "train, val")
    names = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
    place = {name: label for label, name in enumerate(names)}
    if split == "test":
        rows = _validation(root, folder / "val", place)
    else:
        ids = chosen(_listed(folder / "train", names), split, 0.01)
        rows = Listed(ids, lambda name: Row(name, folder / name, {"label": place[name.split("/")[1]]}))
    return ListedImages(nonempty(rows, folder, split), {"label": names}, licence=TRAITS.licence)


def _listed(root: Path, names: Sequence[str]) -> list[str]:
    """``train/WNID/FILE`` of every image, sorted within its class; each folder is listed once, none of the 1.28 million
    files is opened."""
    ends = tuple(image_files.SUFFIXES)
    paths: list[str] = []
    for name in names:
        with os.scandir(root / name) as entries:
            paths += sorted(f"train/{name}/{entry.name}" for entry in entries if entry.name.lower().endswith(ends))
    return paths


def _validation(root: Path, folder: Path, place: Mapping[str, int]) -> Sequence[Row]:
    """Images of ``val``, in one folder per class or all in one."""
    paths = image_paths(folder)
    flat = any(path.parent == folder for path in paths)
    classes = _solution(root) if flat else {path.stem: path.parent.name for path in paths}
    for path in paths:
        if classes.get(path.stem) not in place:
            raise UsageError(
                f"{path}: its class is {classes.get(path.stem)}, which train/ does not have; fix train/ or the labels"
            )
    return [
        Row(f"val/{path.relative_to(folder).as_posix()}", path, {"label": place[classes[path.stem]]}) for path in paths
    ]


def _solution(root: Path) -> Mapping[str, str]:
    """WNID by image, from Kaggle's CSV or from the development kit."""
    table = root / "LOC_val_solution.csv"
    if table.is_file():
        return {
            name: boxes.split()[0]
            for name, _, boxes in (line.partition(",") for line in lines(table)[1:])
            if boxes.split()
        }
    for kit in ("ILSVRC2012_devkit_t12/data", "devkit/data", "data"):
        truth = root / kit / "ILSVRC2012_validation_ground_truth.txt"
        if truth.is_file():
            synsets = library("scipy.io").loadmat(root / kit / "meta.mat", squeeze_me=True)["synsets"]
            wnid = {str(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
            return {
                f"ILSVRC2012_val_{i:08d}": wnid.get(line.strip(), "none")
                for i, line in enumerate(lines(truth), start=1)
            }
    raise MissingError(
        f"{root}: val is flat, so put LOC_val_solution.csv or ILSVRC2012_devkit_t12 there, or sort val into WNID "
        "folders"
    )
