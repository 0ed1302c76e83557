"""Food-101 as published: ``food101:DIR``."""

from brittle.core.errors import UsageError
from brittle.core.files import sha256
from brittle.core.traits import DatasetTraits
from brittle.datasets.parts.listed import ListedImages, Row, held_out, inside, lines, listed_names, nonempty, root_of
from brittle.datasets.parts.walk import spelled

TRAITS = DatasetTraits(
    licence="images of foodspotting.com, for research (Bossard et al. 2014)",
    source="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    layout="DIR (or DIR/food-101) with images/CLASS/NUMBER.jpg, meta/train.txt, meta/test.txt and meta/classes.txt",
    protocol="official train (75,750, a tenth of which by name is val) and test (25,250)",
    download=("Food101", ({"split": "train"},)),
)


def food101(argument: str, split: str, /) -> ListedImages:
    """Food-101 (Bossard et al. 2014), official splits. Target: ``label``.

    Args:
        argument: the folder with ``images`` and ``meta``, or the one above ``food-101``.

    Raises:
        MissingError: the folder or a file is missing.
        UsageError: a list names a class that is not in ``classes.txt``.
    """
    root = inside(
        root_of("food101", argument, "it must hold images and meta"), ("food-101",), "images, meta/classes.txt"
    )
    names = [line.strip() for line in lines(root / "meta/classes.txt")]
    place = {name: label for label, name in enumerate(names)}
    file = root / f"meta/{'test' if split == 'test' else 'train'}.txt"
    listed = listed_names(file, ".jpg")
    unknown = [name for name in listed if name.partition("/")[0] not in place]
    if unknown:
        raise UsageError(f"{file}: {unknown[0]!r} is of no class in meta/classes.txt; fetch it again")
    rows = [
        Row(f"{name}.jpg", spelled(root / f"images/{name}.jpg"), {"label": place[name.partition("/")[0]]})
        for name in listed
    ]
    rows = rows if split == "test" else held_out(rows, split)
    return ListedImages(
        nonempty(rows, root, split), {"label": names}, licence=TRAITS.licence, stamp=sha256("\n".join(names))
    )
