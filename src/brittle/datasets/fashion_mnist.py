"""Fashion-MNIST from its four IDX files, gzipped or not: ``fashion_mnist:DIR``."""

from brittle.datasets._arrays import Arrays
from brittle.datasets._idx import HELD_OUT, idx
from brittle.datasets._labelled import root_of

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
LICENCE = "MIT (Zalando)"
SOURCE = "https://github.com/zalandoresearch/fashion-mnist"
LAYOUT = "DIR (or DIR/FashionMNIST/raw) with {train,t10k}-images-idx3-ubyte and {train,t10k}-labels-idx1-ubyte, each plain or .gz"
PROTOCOL = f"28x28 grey as three equal channels; 60,000 training pictures, the last {HELD_OUT:,} of which are val; 10,000 test"
DOWNLOAD = ("FashionMNIST", ({"train": True},))


def fashion_mnist(argument: str, split: str, /) -> Arrays:
    """Fashion-MNIST (Xiao et al. 2017), 60,000 / 10,000. Target: ``label``.

    Args:
        argument: folder with ``{train,t10k}-{images-idx3,labels-idx1}-ubyte``, each plain or ``.gz``.

    Raises:
        MissingError: folder or files are not there.
        UsageError: a file is damaged.
    """
    root = root_of("fashion_mnist", argument, "it must hold the four idx-ubyte files")
    places = ("FashionMNIST/raw", "raw")
    return idx(root, split, name="fashion_mnist", title="Fashion-MNIST", classes=CLASSES, licence=LICENCE, places=places)
