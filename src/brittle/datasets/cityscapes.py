"""Cityscapes with its 19 training classes: ``cityscapes:DIR``."""

from collections import Counter
from pathlib import Path

import torch

from brittle.core.traits import DatasetTraits
from brittle.datasets.parts.listed import (
    READERS,
    ListedImages,
    Row,
    held_out,
    images_below,
    inside,
    mapped,
    nonempty,
    root_of,
)
from brittle.types.target import VOID

# published id: class, in the order of the train ids
TRAIN_IDS = {
    **{
        7: "road",
        8: "sidewalk",
        11: "building",
        12: "wall",
        13: "fence",
        17: "pole",
        19: "traffic light",
        20: "traffic sign",
    },
    **{
        21: "vegetation",
        22: "terrain",
        23: "sky",
        24: "person",
        25: "rider",
        26: "car",
        27: "truck",
        28: "bus",
        31: "train",
    },
    **{32: "motorcycle", 33: "bicycle"},
}
TABLE = torch.full((34,), VOID)
TABLE[list(TRAIN_IDS)] = torch.arange(len(TRAIN_IDS))
TRAITS = DatasetTraits(
    licence="Cityscapes licence: non-commercial research and teaching, after registration",
    source="https://www.cityscapes-dataset.com (leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip)",
    layout="DIR with leftImg8bit/{train,val}/CITY/*_leftImg8bit.png and gtFine/{train,val}/CITY/*_gtFine_labelIds.png",
    protocol=(
        "published train 2,975 (a tenth by name is val) and val 500, which is test; 1024x2048; label ids become 19 "
        "train ids, the others void"
    ),
    rules={"mask": {"resize": "none"}},
)


def cityscapes(argument: str, split: str, /) -> ListedImages:
    """Cityscapes, fine annotations (Cordts et al. 2016). Target: ``mask``.

    Args:
        argument: the folder with ``leftImg8bit`` and ``gtFine``.

    Raises:
        MissingError: the folder or a file is missing.
    """
    root = inside(root_of("cityscapes", argument, "it must hold leftImg8bit and gtFine"), (), "leftImg8bit, gtFine")
    part = "val" if split == "test" else "train"
    found = images_below(root / "leftImg8bit" / part)
    paths = [path for path in found.paths if path.name.endswith("_leftImg8bit.png")]
    passed = found.passed + Counter({"images of another name": len(found.paths) - len(paths)})
    rows = [Row(path.relative_to(root).as_posix(), path, {"mask": _mask(root, path)}) for path in paths]
    rows = rows if split == "test" else held_out(rows, split)
    readers = {**READERS, "mask": mapped(TABLE)}
    rows, names = nonempty(rows, root, split), {"mask": tuple(TRAIN_IDS.values())}
    return ListedImages(rows, names, licence=TRAITS.licence, readers=readers, passed=passed)


def _mask(root: Path, path: Path) -> Path:
    inner = path.relative_to(root / "leftImg8bit").parent
    return root / "gtFine" / inner / path.name.replace("_leftImg8bit", "_gtFine_labelIds")
