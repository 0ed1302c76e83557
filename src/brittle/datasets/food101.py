"""Food-101 as published: ``food101:DIR``."""

from brittle.datasets._labelled import Pictures, Row, held_out, inside, lines, nonempty, root_of
from brittle.errors import UsageError
from brittle.files import sha256

LICENCE = "pictures of foodspotting.com, for research (Bossard et al. 2014)"
SOURCE = "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/"
LAYOUT = "DIR (or DIR/food-101) with images/CLASS/NUMBER.jpg, meta/train.txt, meta/test.txt and meta/classes.txt"
PROTOCOL = "official train (75,750, a tenth of which by name is val) and test (25,250)"
DOWNLOAD = ("Food101", ({"split": "train"},))


def food101(argument: str, split: str, /) -> Pictures:
    """Food-101 (Bossard et al. 2014), official splits. Target: ``label``.

    Args:
        argument: the folder with ``images`` and ``meta``, or the one above ``food-101``.

    Raises:
        MissingError: folder or files are not there.
        UsageError: a list names a class that is not in ``classes.txt``.
    """
    root = inside(root_of("food101", argument, "it must hold images and meta"), ("food-101",), "images, meta/classes.txt")
    names = [line.strip() for line in lines(root / "meta/classes.txt")]
    place = {name: label for label, name in enumerate(names)}
    file = root / f"meta/{'test' if split == 'test' else 'train'}.txt"
    listed = [line.strip() for line in lines(file)]
    strange = [name for name in listed if name.partition("/")[0] not in place]
    if strange:
        raise UsageError(f"{file}: {strange[0]!r} is of no class in meta/classes.txt; fetch it again")
    rows = [Row(f"{name}.jpg", root / f"images/{name}.jpg", {"label": place[name.partition("/")[0]]}) for name in listed]
    rows = rows if split == "test" else held_out(rows, split)
    return Pictures(nonempty(rows, root, split), {"label": names}, licence=LICENCE, stamp=sha256("\n".join(names).encode()))
