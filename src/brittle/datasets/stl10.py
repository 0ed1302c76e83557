"""STL-10 from its binary files: ``stl10:DIR``."""

import numpy as np

from brittle.core.files import sha256
from brittle.core.traits import DatasetTraits
from brittle.datasets.parts.arrays import Arrays, records, tail, validate_labels
from brittle.datasets.parts.listed import inside, root_of

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
TRAITS = DatasetTraits(
    licence="none stated (Coates, Ng, Lee 2011); images from ImageNet, for research",
    source="https://cs.stanford.edu/~acoates/stl10/",
    layout="DIR (or DIR/stl10_binary) with train_X.bin, train_y.bin, test_X.bin, test_y.bin",
    protocol="96x96; 4,500 train, 500 val (the last of the training file), 8,000 test; the unlabelled images and "
    "the ten folds are not used",
    download=("STL10", ({"split": "train"},)),
)


def stl10(argument: str, split: str, /) -> Arrays:
    """STL-10 (Coates et al. 2011), 5,000 / 8,000 labelled images. Target: ``label`` (published from 1, here from 0).

    Args:
        argument: the folder with the four files, or the one above ``stl10_binary``.

    Raises:
        MissingError: the folder or a file is missing.
        UsageError: a file is damaged.
    """
    stem = "test" if split == "test" else "train"
    root = root_of("stl10", argument, "it must hold stl10_binary")
    folder = inside(root, ("stl10_binary",), f"{stem}_X.bin, {stem}_y.bin")
    _, pixels, image_sha = records(folder / f"{stem}_X.bin", 0, 3 * 96 * 96)
    published, _, label_sha = records(folder / f"{stem}_y.bin", 1, 0)
    images = np.ascontiguousarray(pixels.reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2))  # columns come first in the file
    labels = published[:, 0].astype(np.int64) - 1
    validate_labels(images, labels, len(CLASSES), folder)
    sha = sha256(f"{image_sha} {label_sha}".encode())
    cut = tail(split, len(images), folder)
    return Arrays(images, labels, names=CLASSES, licence=TRAITS.licence, stem=f"stl10-{stem}", sha=sha, cut=cut)
