"""MNIST from its four IDX files, gzipped or not: ``mnist:DIR``."""

from brittle.core.traits import DatasetTraits
from brittle.datasets.parts.arrays import Arrays
from brittle.datasets.parts.idx import HELD_OUT, idx
from brittle.datasets.parts.listed import root_of

CLASSES = tuple("0123456789")
TRAITS = DatasetTraits(
    licence="none stated (LeCun, Cortes, Burges); commonly given as CC BY-SA 3.0",
    source="http://yann.lecun.com/exdb/mnist/ (mirror: https://ossci-datasets.s3.amazonaws.com/mnist/)",
    layout="DIR (or DIR/MNIST/raw) with {train,t10k}-images-idx3-ubyte and {train,t10k}-labels-idx1-ubyte, each "
    "plain or .gz",
    protocol=f"28x28 grey as three equal channels; 60,000 training images, the last {HELD_OUT:,} of which are val; "
    "10,000 test",
    download=("MNIST", ({"train": True},)),
)


def mnist(argument: str, split: str, /) -> Arrays:
    """MNIST (LeCun et al. 1998), 60,000 / 10,000. Target: ``label``.

    Args:
        argument: folder with ``{train,t10k}-{images-idx3,labels-idx1}-ubyte``, each plain or ``.gz``.

    Raises:
        MissingError: the folder or a file is missing.
        UsageError: a file is damaged.
    """
    root = root_of("mnist", argument, "it must hold the four idx-ubyte files")
    return idx(
        root, split, name="mnist", title="MNIST", classes=CLASSES, licence=TRAITS.licence, places=("MNIST/raw", "raw")
    )
