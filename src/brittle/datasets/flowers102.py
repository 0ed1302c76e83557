"""Oxford 102 Flowers as published: ``flowers102:DIR``."""

from brittle.core.errors import UsageError
from brittle.core.traits import DatasetTraits
from brittle.datasets.parts import matlab
from brittle.datasets.parts.listed import ListedImages, Row, inside, nonempty, root_of
from brittle.datasets.parts.walk import spelled

_NAMES = (
    "pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea, english marigold, tiger lily, moon "
    "orchid, bird of paradise, monkshood, globe thistle, snapdragon, colt's foot, king protea, spear thistle, yellow "
    "iris, globe-flower, purple coneflower, peruvian lily, balloon flower, giant white arum lily, fire lily, "
    "pincushion flower, fritillary, red ginger, grape hyacinth, corn poppy, prince of wales feathers, stemless "
    "gentian, artichoke, sweet william, carnation, garden phlox, love in the mist, mexican aster, alpine sea holly, "
    "ruby-lipped cattleya, cape flower, great masterwort, siam tulip, lenten rose, barbeton daisy, daffodil, sword "
    "lily, poinsettia, bolero deep blue, wallflower, marigold, buttercup, oxeye daisy, common dandelion, petunia, "
    "wild pansy, primula, sunflower, pelargonium, bishop of llandaff, gaura, geranium, orange dahlia, pink-yellow "
    "dahlia, cautleya spicata, japanese anemone, black-eyed susan, silverbush, californian poppy, osteospermum, "
    "spring crocus, bearded iris, windflower, tree poppy, gazania, azalea, water lily, rose, thorn apple, morning "
    "glory, passion flower, lotus, toad lily, anthurium, frangipani, clematis, hibiscus, columbine, desert-rose, tree "
    "mallow, magnolia, cyclamen, watercress, canna lily, hippeastrum, bee balm, ball moss, foxglove, bougainvillea, "
    "camellia, mallow, mexican petunia, bromelia, blanket flower, trumpet creeper, blackberry lily"
)
CLASSES = tuple(_NAMES.split(", "))
SETS = {"train": "trnid", "val": "valid", "test": "tstid"}
TRAITS = DatasetTraits(
    licence="none stated (Nilsback and Zisserman 2008); images from the web, for research",
    source="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    layout="DIR (or DIR/flowers-102) with jpg/image_00001.jpg ..., imagelabels.mat and setid.mat",
    protocol="the official trnid 1,020 / valid 1,020 / tstid 6,149",
    download=("Flowers102", ({"split": "train"},)),
)


def flowers102(argument: str, split: str, /) -> ListedImages:
    """Oxford 102 Flowers (Nilsback and Zisserman 2008), official splits. Target: ``label``.

    Args:
        argument: the folder with ``jpg``, or the one above ``flowers-102``.

    Raises:
        MissingError: the folder or a file is missing.
        UsageError: a file is damaged.
    """
    root = inside(
        root_of("flowers102", argument, "it must hold jpg, imagelabels.mat and setid.mat"),
        ("flowers-102",),
        "jpg, imagelabels.mat, setid.mat",
    )
    labels = matlab.vector(root / "imagelabels.mat", "labels")
    chosen = matlab.vector(root / "setid.mat", SETS[split])
    beyond = [number for number in chosen if not 1 <= number <= len(labels)]
    if beyond:
        raise UsageError(
            f"{root / 'setid.mat'}: {SETS[split]} names image {beyond[0]} of {len(labels)}; fetch it again"
        )
    unlabelled = [number for number in chosen if not 1 <= labels[number - 1] <= len(CLASSES)]
    if unlabelled:
        raise UsageError(
            f"{root / 'imagelabels.mat'}: label {labels[unlabelled[0] - 1]} of image {unlabelled[0]} is not in 1 to "
            "102; fetch it again"
        )
    rows = [
        Row(f"jpg/image_{i:05d}.jpg", spelled(root / f"jpg/image_{i:05d}.jpg"), {"label": labels[i - 1] - 1})
        for i in chosen
    ]
    return ListedImages(nonempty(rows, root, split), {"label": CLASSES}, licence=TRAITS.licence)
