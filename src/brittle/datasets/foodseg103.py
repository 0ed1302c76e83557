"""FoodSeg103 as published: ``foodseg103:DIR``."""

from pathlib import Path

from brittle.datasets._labelled import Pictures, Row, found, held_out, inside, lines, nonempty, root_of

CLASSES = 104
LICENCE = "Apache-2.0 for the annotations; pictures of Recipe1M, for research"
SOURCE = "https://xiongweiwu.github.io/foodseg103.html"
LAYOUT = "DIR (or DIR/FoodSeg103) with Images/img_dir/{train,test}/*.jpg, Images/ann_dir/{train,test}/*.png and category_id.txt"
PROTOCOL = "published train 4,983 (a tenth by name is val) and test 2,135; 104 classes of which 0 is background, 255 void"


def foodseg103(argument: str, split: str, /) -> Pictures:
    """FoodSeg103 (Wu et al. 2021). Target: ``mask``.

    Args:
        argument: the folder with ``Images``, or the one above ``FoodSeg103``.

    Raises:
        MissingError: folder or files are not there.
    """
    root = root_of("foodseg103", argument, "it must hold Images/img_dir and Images/ann_dir")
    root = inside(root, ("FoodSeg103",), "Images/img_dir, Images/ann_dir")
    part = "test" if split == "test" else "train"
    pictures, masks = root / "Images/img_dir" / part, root / "Images/ann_dir" / part
    rows = [Row(f"{part}/{path.name}", path, {"mask": masks / f"{path.stem}.png"}) for path in found(pictures)]
    rows = rows if split == "test" else held_out(rows, split)
    return Pictures(nonempty(rows, root, split), {"mask": _names(root)}, licence=LICENCE)


def _names(root: Path) -> list[str]:
    """The names in ``category_id.txt`` (a number and a name a line), else numbers."""
    table = root / "category_id.txt"
    parts = [line.split(maxsplit=1) for line in lines(table)] if table.is_file() else []
    named = {int(part[0]): part[1].strip() for part in parts if len(part) == 2 and part[0].isdigit()}
    return [named.get(i, "background" if i == 0 else f"class {i}") for i in range(CLASSES)]
