"""ImageNet-1k (ILSVRC 2012) as published or as Kaggle lays it out: ``imagenet:DIR``."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from brittle import pictures
from brittle.datasets._labelled import Listed, Pictures, Row, chosen, found, inside, library, lines, nonempty, root_of
from brittle.errors import MissingError, UsageError

LICENCE = "ImageNet terms of access: non-commercial research and education"
SOURCE = "https://www.image-net.org/challenges/LSVRC/2012/ or https://www.kaggle.com/c/imagenet-object-localization-challenge"
LAYOUT = (
    "DIR (or DIR/ILSVRC/Data/CLS-LOC) with train/WNID/*.JPEG and val/WNID/*.JPEG; or a flat val/ILSVRC2012_val_*.JPEG with "
    "LOC_val_solution.csv or ILSVRC2012_devkit_t12/data in DIR"
)
PROTOCOL = "published train (1 in 100 by name is val) and published val (50,000), which is test; classes are the sorted WNIDs of train/"
KAGGLE = "ILSVRC/Data/CLS-LOC"


def imagenet(argument: str, split: str, /) -> Pictures:
    """ImageNet-1k (Russakovsky et al. 2015). Target: ``label``, in the order of sorted WNIDs, as every published model has it.

    Args:
        argument: the folder with ``train`` and ``val``, or the one above ``ILSVRC``.

    Raises:
        MissingError: folder, pictures or the labels of a flat ``val`` are not there.
        UsageError: a picture of a class that ``train`` does not have.
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
    return Pictures(nonempty(rows, folder, split), {"label": names}, licence=LICENCE)


def _listed(root: Path, names: Sequence[str]) -> list[str]:
    """``train/WNID/FILE`` of every picture, sorted within its class; one look at each folder and none at the 1.28 million files."""
    ends = tuple(pictures.SUFFIXES)
    found: list[str] = []
    for name in names:
        with os.scandir(root / name) as entries:
            found += sorted(f"train/{name}/{entry.name}" for entry in entries if entry.name.lower().endswith(ends))
    return found


def _validation(root: Path, folder: Path, place: Mapping[str, int]) -> Sequence[Row]:
    """Pictures of ``val``, in a folder a class or all in one."""
    paths = found(folder)
    flat = any(path.parent == folder for path in paths)
    classes = _solution(root) if flat else {path.stem: path.parent.name for path in paths}
    for path in paths:
        if classes.get(path.stem) not in place:
            raise UsageError(f"{path}: its class is {classes.get(path.stem)}, which train/ does not have; mend train/ or the labels")
    return [Row(f"val/{path.relative_to(folder).as_posix()}", path, {"label": place[classes[path.stem]]}) for path in paths]


def _solution(root: Path) -> Mapping[str, str]:
    """WNID by picture, from Kaggle's CSV or from the development kit."""
    table = root / "LOC_val_solution.csv"
    if table.is_file():
        return {name: boxes.split()[0] for name, _, boxes in (line.partition(",") for line in lines(table)[1:]) if boxes.split()}
    for kit in ("ILSVRC2012_devkit_t12/data", "devkit/data", "data"):
        truth = root / kit / "ILSVRC2012_validation_ground_truth.txt"
        if truth.is_file():
            synsets = library("scipy.io").loadmat(root / kit / "meta.mat", squeeze_me=True)["synsets"]
            wnid = {str(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
            return {f"ILSVRC2012_val_{i:08d}": wnid.get(line.strip(), "none") for i, line in enumerate(lines(truth), start=1)}
    raise MissingError(f"{root}: val is flat, so put LOC_val_solution.csv or ILSVRC2012_devkit_t12 there, or sort val into WNID folders")
