"""PASCAL VOC 2012 segmentation: ``voc2012:DIR``."""

from brittle.core.traits import DatasetTraits
from brittle.datasets.parts.listed import ListedImages, Row, held_out, inside, listed_names, nonempty, root_of
from brittle.datasets.parts.walk import spelled

CLASSES = (
    *(
        "background",
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
        "horse",
    ),
    *("motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
TRAITS = DatasetTraits(
    licence="annotations by the VOC organisers, for research; images under the terms of flickr",
    source="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (VOCtrainval_11-May-2012.tar)",
    layout=(
        "DIR (VOC2012, VOCdevkit or the folder above it) with JPEGImages/*.jpg, SegmentationClass/*.png, "
        "ImageSets/Segmentation/{train,val}.txt"
    ),
    protocol="published train 1,464 (a tenth by name is val) and val 1,449, which is test; 21 classes with "
    "background, 255 void",
    rules={"mask": {"background": 0}},
    download=("VOCSegmentation", ({"year": "2012", "image_set": "train"},)),
)


def voc2012(argument: str, split: str, /) -> ListedImages:
    """PASCAL VOC 2012 segmentation (Everingham et al. 2012). Target: ``mask``, the palette's indices.

    Args:
        argument: ``VOC2012``, ``VOCdevkit`` or the folder above it.

    Raises:
        MissingError: the folder or a file is missing.
    """
    wanted = "ImageSets/Segmentation, JPEGImages, SegmentationClass"
    root = inside(root_of("voc2012", argument, "it must hold VOC2012"), ("VOC2012", "VOCdevkit/VOC2012"), wanted)
    part = "val" if split == "test" else "train"
    images, masks = root / "JPEGImages", root / "SegmentationClass"
    rows = [
        Row(name, spelled(images / f"{name}.jpg"), {"mask": spelled(masks / f"{name}.png")})
        for name in listed_names(root / f"ImageSets/Segmentation/{part}.txt", ".jpg")
    ]
    rows = rows if split == "test" else held_out(rows, split)
    return ListedImages(nonempty(rows, root, split), {"mask": CLASSES}, licence=TRAITS.licence)
