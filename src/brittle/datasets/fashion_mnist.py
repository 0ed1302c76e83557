"""Fashion-MNIST from its four IDX files, gzipped or not: ``fashion_mnist:DIR``."""

from brittle.core.traits import DatasetTraits
from brittle.datasets.parts.arrays import Arrays
from brittle.datasets.parts.idx import HELD_OUT, idx
from brittle.datasets.parts.listed import root_of

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
TRAITS = DatasetTraits(
    licence="MIT (Zalando)",
    source="https://github.com/zalandoresearch/fashion-mnist",
    layout="DIR (or DIR/FashionMNIST/raw) with {train,t10k}-images-idx3-ubyte and {train,t10k}-labels-idx1-ubyte, "
    "each plain or .gz",
    protocol=f"28x28 grey as three equal channels; 60,000 training images, the last {HELD_OUT:,} of which are val; "
    "10,000 test",
    download=("FashionMNIST", ({"train": True},)),
)


def fashion_mnist(argument: str, split: str, /) -> Arrays:
    """Fashion-MNIST (Xiao et al. 2017), 60,000 / 10,000. Target: ``label``.

    Args:
        argument: folder with ``{train,t10k}-{images-idx3,labels-idx1}-ubyte``, each plain or ``.gz``.

    Raises:
        MissingError: the folder or a file is missing.
        UsageError: a file is damaged.
    """
    root = root_of("fashion_mnist", argument, "it must hold the four idx-ubyte files")
    places = ("FashionMNIST/raw", "raw")
    return idx(
        root, split, name="fashion_mnist", title="Fashion-MNIST", classes=CLASSES, licence=TRAITS.licence, places=places
    )
