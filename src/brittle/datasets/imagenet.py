"""ImageNet-1k (ILSVRC 2012) as published or as Kaggle lays it out: ``imagenet:DIR``."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from brittle.core.errors import MissingError, UsageError
from brittle.core.traits import DatasetTraits
from brittle.datasets.parts import matlab
from brittle.datasets.parts.listed import (
    Listed,
    ListedImages,
    Row,
    chosen,
    images_below,
    inside,
    lines,
    nonempty,
    root_of,
)
from brittle.datasets.parts.walk import left_behind, subfolders
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
    names = subfolders(folder / "train")
    passed: Counter[str] = Counter()
    place = {name: label for label, name in enumerate(names)}
    if split == "test":
        rows = _validation(root, folder / "val", place, passed)
    else:
        ids = chosen(_listed(folder / "train", names, passed), split, 0.01)
        rows = Listed(ids, lambda name: Row(name, folder / name, {"label": place[name.split("/")[1]]}))
    return ListedImages(nonempty(rows, folder, split), {"label": names}, licence=TRAITS.licence, passed=passed)


def _listed(root: Path, names: Sequence[str], passed: Counter[str]) -> list[str]:
    """``train/WNID/FILE`` of every image, sorted within its class; each folder is listed once, none of the 1.28 million
    files is opened."""
    ends = tuple(image_files.SUFFIXES)
    paths: list[str] = []
    for name in names:
        with os.scandir(root / name) as entries:
            listed = [entry.name for entry in entries]
        kept = [file for file in listed if file.lower().endswith(ends) and not left_behind(file)]
        passed["no images"] += len(listed) - len(kept)
        paths += sorted(f"train/{name}/{file}" for file in kept)
    return paths


def _validation(root: Path, folder: Path, place: Mapping[str, int], passed: Counter[str]) -> Sequence[Row]:
    """Images of ``val``, in one folder per class or all in one."""
    found = images_below(folder)
    passed.update(found.passed)
    solution = _solution(root) if any(path.parent == folder for path in found.paths) else {}
    rows: list[Row] = []
    for path in found.paths:
        inner = path.relative_to(folder)
        wnid = inner.parts[0] if len(inner.parts) > 1 else solution.get(path.stem, "none")
        if wnid not in place:
            raise UsageError(f"{path}: its class is {wnid}, which train/ does not have; fix train/ or the labels")
        rows.append(Row(f"val/{inner.as_posix()}", path, {"label": place[wnid]}))
    return rows


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
            meta = root / kit / "meta.mat"
            try:
                rows = matlab.read(meta)["synsets"]
                wnid = {str(int(row["ILSVRC2012_ID"][0])): str(row["WNID"][0]) for row in rows}
            except (LookupError, TypeError, ValueError):
                raise UsageError(f"{meta}: has no synsets with ILSVRC2012_ID and WNID; fetch it again") from None
            return {
                f"ILSVRC2012_val_{i:08d}": wnid.get(line.strip(), "none")
                for i, line in enumerate(lines(truth), start=1)
            }
    raise MissingError(
        f"{root}: val is flat, so put LOC_val_solution.csv or ILSVRC2012_devkit_t12 there, or sort val into WNID "
        "folders"
    )
