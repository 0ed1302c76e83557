"""FoodSeg103 as published: ``foodseg103:DIR``."""

import re
from pathlib import Path

from brittle.core.traits import DatasetTraits
from brittle.datasets.parts.listed import ListedImages, Row, held_out, images_below, inside, lines, nonempty, root_of
from brittle.datasets.parts.walk import spelled

CLASSES = 104
TRAITS = DatasetTraits(
    licence="Apache-2.0 for the annotations; images of Recipe1M, for research",
    source="https://xiongweiwu.github.io/foodseg103.html",
    layout="DIR (or DIR/FoodSeg103) with Images/img_dir/{train,test}/*.jpg, Images/ann_dir/{train,test}/*.png and "
    "category_id.txt",
    protocol="published train 4,983 (a tenth by name is val) and test 2,135; 104 classes of which 0 is background, "
    "255 void",
)


def foodseg103(argument: str, split: str, /) -> ListedImages:
    """FoodSeg103 (Wu et al. 2021). Target: ``mask``.

    Args:
        argument: the folder with ``Images``, or the one above ``FoodSeg103``.

    Raises:
        MissingError: the folder or a file is missing.
    """
    root = root_of("foodseg103", argument, "it must hold Images/img_dir and Images/ann_dir")
    root = inside(root, ("FoodSeg103",), "Images/img_dir, Images/ann_dir")
    part = "test" if split == "test" else "train"
    images, masks = root / "Images/img_dir" / part, root / "Images/ann_dir" / part
    found = images_below(images)
    rows = [Row(f"{part}/{path.name}", path, {"mask": spelled(masks / f"{path.stem}.png")}) for path in found.paths]
    rows = rows if split == "test" else held_out(rows, split)
    rows, names = nonempty(rows, root, split), {"mask": _names(root)}
    return ListedImages(rows, names, licence=TRAITS.licence, passed=found.passed)


def _names(root: Path) -> list[str]:
    """The names in ``category_id.txt`` (a number and a name per line), else numbers."""
    path = root / "category_id.txt"
    parts = [line.split(maxsplit=1) for line in lines(path)] if path.is_file() else []
    named = {int(part[0]): part[1].strip() for part in parts if len(part) == 2 and re.fullmatch("[0-9]{1,4}", part[0])}
    return [named.get(i, "background" if i == 0 else f"class {i}") for i in range(CLASSES)]
