"""PASCAL VOC 2012 segmentation: ``voc2012:DIR``."""

from brittle.datasets._labelled import Pictures, Row, held_out, inside, lines, nonempty, root_of

CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse"),
    *("motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
LICENCE = "annotations by the VOC organisers, for research; pictures under the terms of flickr"
SOURCE = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (VOCtrainval_11-May-2012.tar)"
LAYOUT = (
    "DIR (VOC2012, VOCdevkit or the folder above it) with JPEGImages/*.jpg, SegmentationClass/*.png, ImageSets/Segmentation/{train,val}.txt"
)
PROTOCOL = "published train 1,464 (a tenth by name is val) and val 1,449, which is test; 21 classes with background, 255 void"
DOWNLOAD = ("VOCSegmentation", ({"year": "2012", "image_set": "train"},))


def voc2012(argument: str, split: str, /) -> Pictures:
    """PASCAL VOC 2012 segmentation (Everingham et al. 2012). Target: ``mask``, the palette's indices.

    Args:
        argument: ``VOC2012``, ``VOCdevkit`` or the folder above it.

    Raises:
        MissingError: folder or files are not there.
    """
    wanted = "ImageSets/Segmentation, JPEGImages, SegmentationClass"
    root = inside(root_of("voc2012", argument, "it must hold VOC2012"), ("VOC2012", "VOCdevkit/VOC2012"), wanted)
    names = [line.strip() for line in lines(root / f"ImageSets/Segmentation/{'val' if split == 'test' else 'train'}.txt")]
    rows = [Row(name, root / f"JPEGImages/{name}.jpg", {"mask": root / f"SegmentationClass/{name}.png"}) for name in names]
    rows = rows if split == "test" else held_out(rows, split)
    return Pictures(nonempty(rows, root, split), {"mask": CLASSES}, licence=LICENCE)
