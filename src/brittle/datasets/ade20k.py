"""ADE20k as the scene-parsing benchmark has it (150 classes): ``ade20k:DIR``."""

from pathlib import Path

from brittle.core.traits import DatasetTraits
from brittle.datasets.parts.listed import (
    READERS,
    ListedImages,
    Row,
    held_out,
    images_below,
    inside,
    lines,
    nonempty,
    root_of,
    zero_is_void,
)
from brittle.datasets.parts.walk import spelled
from brittle.types import image_files

CLASSES = 150
TRAITS = DatasetTraits(
    licence="BSD-3-Clause for annotations and code; images for non-commercial research and education (MIT CSAIL)",
    source="http://sceneparsing.csail.mit.edu (ADEChallengeData2016.zip)",
    layout=(
        "DIR (or DIR/ADEChallengeData2016) with images/{training,validation}/*.jpg, "
        "annotations/{training,validation}/*.png, objectInfo150.txt"
    ),
    protocol="published training 20,210 (a tenth by name is val) and validation 2,000, which is test; 0 = other is "
    "void, 1..150 become 0..149",
)


def ade20k(argument: str, split: str, /) -> ListedImages:
    """SceneParse150 of ADE20k (Zhou et al. 2017). Target: ``mask``.

    Args:
        argument: the folder with ``images`` and ``annotations``, or the one above ``ADEChallengeData2016``.

    Raises:
        MissingError: the folder or a file is missing.
    """
    root = inside(
        root_of("ade20k", argument, "it must hold images and annotations"),
        ("ADEChallengeData2016",),
        "images, annotations",
    )
    part = "validation" if split == "test" else "training"
    found = images_below(root / "images" / part)
    rows = [_row(root, path, part) for path in found.paths]
    rows = rows if split == "test" else held_out(rows, split)
    readers = {**READERS, "mask": lambda path: zero_is_void(image_files.read_mask(path), CLASSES)}
    rows, names = nonempty(rows, root, split), {"mask": _names(root)}
    return ListedImages(rows, names, licence=TRAITS.licence, readers=readers, passed=found.passed)


def _row(root: Path, path: Path, part: str) -> Row:
    inner = path.relative_to(root / "images" / part).with_suffix(".png")
    return Row(
        path.relative_to(root / "images").as_posix(), path, {"mask": spelled(root / "annotations" / part / inner)}
    )


def _names(root: Path) -> list[str]:
    """The first name of each class in ``objectInfo150.txt``, else the published numbers."""
    path = root / "objectInfo150.txt"
    if path.is_file():
        names = [line.split("\t")[-1].split(",")[0].strip() for line in lines(path)[1:]]
        if len(names) == CLASSES:
            return names
    return [f"class {i}" for i in range(1, CLASSES + 1)]
