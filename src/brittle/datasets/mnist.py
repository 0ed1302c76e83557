"""MNIST from its four IDX files, gzipped or not: ``mnist:DIR``."""

from brittle.datasets._arrays import Arrays
from brittle.datasets._idx import HELD_OUT, idx
from brittle.datasets._labelled import root_of

CLASSES = tuple("0123456789")
LICENCE = "none stated (LeCun, Cortes, Burges); commonly given as CC BY-SA 3.0"
SOURCE = "http://yann.lecun.com/exdb/mnist/ (mirror: https://ossci-datasets.s3.amazonaws.com/mnist/)"
LAYOUT = "DIR (or DIR/MNIST/raw) with {train,t10k}-images-idx3-ubyte and {train,t10k}-labels-idx1-ubyte, each plain or .gz"
PROTOCOL = f"28x28 grey as three equal channels; 60,000 training pictures, the last {HELD_OUT:,} of which are val; 10,000 test"
DOWNLOAD = ("MNIST", ({"train": True},))


def mnist(argument: str, split: str, /) -> Arrays:
    """MNIST (LeCun et al. 1998), 60,000 / 10,000. Target: ``label``.

    Args:
        argument: folder with ``{train,t10k}-{images-idx3,labels-idx1}-ubyte``, each plain or ``.gz``.

    Raises:
        MissingError: folder or files are not there.
        UsageError: a file is damaged.
    """
    root = root_of("mnist", argument, "it must hold the four idx-ubyte files")
    return idx(root, split, name="mnist", title="MNIST", classes=CLASSES, licence=LICENCE, places=("MNIST/raw", "raw"))
