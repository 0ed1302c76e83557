"""CIFAR-10 in its binary or its Python version: ``cifar10:DIR``."""

from brittle.core.errors import MissingError
from brittle.core.traits import DatasetTraits
from brittle.datasets.parts.arrays import Arrays
from brittle.datasets.parts.cifar import arrays, binary, python
from brittle.datasets.parts.listed import root_of

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAITS = DatasetTraits(
    licence="none stated (Krizhevsky 2009); free for research",
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    layout=(
        "DIR (or DIR/cifar-10-batches-bin) with data_batch_{1..5}.bin and test_batch.bin; or DIR (or "
        "DIR/cifar-10-batches-py) with the same without .bin"
    ),
    protocol="32x32; 45,000 train, 5,000 val (the last of the training batches), 10,000 test",
    download=("CIFAR10", ({"train": True},)),
)


def cifar10(argument: str, split: str, /) -> Arrays:
    """CIFAR-10 (Krizhevsky 2009), 50,000 / 10,000. Target: ``label``. A pickle of the Python version is read without
    running it.

    Args:
        argument: the folder with the batches, or the one above it.

    Raises:
        MissingError: the folder or a batch is missing.
        UsageError: a batch is damaged or is not one of CIFAR.
    """
    root = root_of("cifar10", argument, "it must hold cifar-10-batches-bin or cifar-10-batches-py")
    stems = ["test_batch"] if split == "test" else [f"data_batch_{i}" for i in range(1, 6)]
    for folder in (root, root / "cifar-10-batches-bin", root / "cifar-10-batches-py"):
        for end, read in ((".bin", lambda path: binary(path, 1)), ("", lambda path: python(path, "labels"))):
            if (folder / f"{stems[0]}{end}").is_file():
                batches = [read(folder / f"{stem}{end}") for stem in stems]
                return arrays(batches, split, folder, name="cifar10", names=CLASSES, licence=TRAITS.licence)
    raise MissingError(
        f"{root}: no {stems[0]}.bin or {stems[0]}, nor in cifar-10-batches-bin or cifar-10-batches-py; see brittle "
        "data info"
    )
