"""CIFAR-100 with its 100 fine labels, in its binary or its Python version: ``cifar100:DIR``."""

from brittle.core.errors import MissingError
from brittle.core.traits import DatasetTraits
from brittle.datasets.parts.arrays import Arrays
from brittle.datasets.parts.cifar import arrays, binary, python
from brittle.datasets.parts.listed import root_of

_NAMES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster "
    "man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
    "pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
    "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
    "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
CLASSES = tuple(_NAMES.split())
TRAITS = DatasetTraits(
    licence="none stated (Krizhevsky 2009); free for research",
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    layout="DIR (or DIR/cifar-100-binary) with train.bin and test.bin, or DIR (or DIR/cifar-100-python) with train "
    "and test",
    protocol="32x32, fine labels; 45,000 train, 5,000 val (the last of the training file), 10,000 test",
    download=("CIFAR100", ({"train": True},)),
)


def cifar100(argument: str, split: str, /) -> Arrays:
    """CIFAR-100 (Krizhevsky 2009), 50,000 / 10,000. Target: ``label``, the fine one. A pickle is read without running
    it.

    Args:
        argument: the folder with the files, or the one above it.

    Raises:
        MissingError: the folder or a file is missing.
        UsageError: a file is damaged or is not one of CIFAR.
    """
    root = root_of("cifar100", argument, "it must hold cifar-100-binary or cifar-100-python")
    stem = "test" if split == "test" else "train"
    for folder in (root, root / "cifar-100-binary", root / "cifar-100-python"):
        for end, read in ((".bin", lambda path: binary(path, 2)), ("", lambda path: python(path, "fine_labels"))):
            if (folder / f"{stem}{end}").is_file():
                return arrays(
                    [read(folder / f"{stem}{end}")],
                    split,
                    folder,
                    name="cifar100",
                    names=CLASSES,
                    licence=TRAITS.licence,
                )
    raise MissingError(
        f"{root}: no {stem}.bin or {stem}, nor in cifar-100-binary or cifar-100-python; see brittle data info"
    )
