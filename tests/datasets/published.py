"""Tiny copies of published data sets in their exact layouts; every image has a red block at rows 8:16, columns
24:32."""

import gzip
import io
import json
import pickle
import struct
from pathlib import Path

import numpy as np
from PIL import Image

ROWS, COLUMNS = slice(8, 16), slice(24, 32)
WIDTH, HEIGHT = 48, 32


def pixels(label: int = 0, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """uint8 [H,W,3]: blue by label, and the red block."""
    array = np.zeros((height, width, 3), np.uint8)
    array[..., 2] = 20 * (label % 8)
    array[ROWS, COLUMNS] = (255, 0, 0)
    return array


def image(path: Path, label: int = 0, width: int = WIDTH, height: int = HEIGHT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 95, "subsampling": 0} if path.suffix.lower() in (".jpg", ".jpeg") else {}
    Image.fromarray(pixels(label, width, height)).save(path, **options)


def values(ground: int, block: int, void: int | None) -> np.ndarray:
    """uint8 [H,W]: ``block`` in the block, ``void`` in the first row, else ``ground``."""
    mask = np.full((HEIGHT, WIDTH), ground, np.uint8)
    mask[ROWS, COLUMNS] = block
    if void is not None:
        mask[0] = void
    return mask


def mask(path: Path, array: np.ndarray, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if palette:
        image = image.convert("P")
        image = Image.frombytes("P", image.size, array.tobytes())
        image.putpalette([255 - i // 3 for i in range(768)])  # colours that are not the indices
    image.save(path)


# --- classification ---------------------------------------------------------------------------------------------------


def planes(label: int, edge: int) -> bytes:
    return pixels(label, edge, edge).transpose(2, 0, 1).tobytes()


def cifar10_binary(root: Path) -> str:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for stem, count in [(f"data_batch_{i}", 4) for i in range(1, 6)] + [("test_batch", 10)]:
        (folder / f"{stem}.bin").write_bytes(b"".join(bytes([i % 10]) + planes(i % 10, 32) for i in range(count)))
    return f"cifar10:{root}"


class Python2(pickle._Pickler):
    """Writes text and bytes as Python 2 did, as CIFAR's files have them."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_text(self, item) -> None:
        data = item.encode("latin-1") if isinstance(item, str) else item
        self.write(b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(item)

    dispatch[bytes] = dispatch[str] = save_text


def python2(content: object) -> bytes:
    stream = io.BytesIO()
    Python2(stream, 2).dump(content)
    return stream.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def batch(labels: list[int], key: str) -> dict:
    data = np.stack([np.frombuffer(planes(label, 32), np.uint8) for label in labels])
    return {"batch_label": "a batch", key: labels, "data": data, "filenames": [f"{i}.png" for i in range(len(labels))]}


def cifar10_python(root: Path) -> str:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for stem, count in [(f"data_batch_{i}", 4) for i in range(1, 6)] + [("test_batch", 10)]:
        (folder / stem).write_bytes(python2(batch([i % 10 for i in range(count)], "labels")))
    return f"cifar10:{folder}"


def cifar100_binary(root: Path) -> str:
    folder = root / "cifar-100-binary"
    folder.mkdir(parents=True)
    for stem, count in (("train", 20), ("test", 10)):
        (folder / f"{stem}.bin").write_bytes(
            b"".join(bytes([19 - i, i % 10 + 90]) + planes(i % 10, 32) for i in range(count))
        )
    return f"cifar100:{root}"


def cifar100_python(root: Path) -> str:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for stem, count in (("train", 20), ("test", 10)):
        held = batch([i % 10 for i in range(count)], "coarse_labels")
        (folder / stem).write_bytes(python2({**held, "fine_labels": [i % 10 + 90 for i in range(count)]}))
    return f"cifar100:{root}"


def stl10(root: Path) -> str:
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    for stem, count in (("train", 20), ("test", 10)):
        columns_first = [pixels(i % 10, 96, 96).transpose(2, 1, 0).tobytes() for i in range(count)]
        (folder / f"{stem}_X.bin").write_bytes(b"".join(columns_first))
        (folder / f"{stem}_y.bin").write_bytes(bytes(i % 10 + 1 for i in range(count)))
    return f"stl10:{root}"


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()


def mnist(root: Path, name: str = "mnist", folder: str = "MNIST/raw") -> str:
    (root / folder).mkdir(parents=True)
    grey = np.zeros((28, 28), np.uint8)
    grey[ROWS, slice(16, 24)] = 255
    for stem, count in (("train", 40), ("t10k", 10)):
        images = np.repeat(grey[None], count, 0)
        images[:, 20:, :8] = (20 * (np.arange(count) % 10)).astype(np.uint8)[:, None, None]
        (root / folder / f"{stem}-images-idx3-ubyte").write_bytes(idx(images))
        (root / folder / f"{stem}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(idx((np.arange(count) % 10).astype(np.uint8)))
        )
    return f"{name}:{root}"


def flowers102(root: Path) -> str:
    from scipy.io import savemat

    folder = root / "flowers-102"
    folder.mkdir(parents=True)
    for i in range(1, 31):
        image(folder / f"jpg/image_{i:05d}.jpg", i)
    savemat(folder / "imagelabels.mat", {"labels": np.array([[i % 3 + 100 for i in range(1, 31)]], np.uint8)})
    sets = {"trnid": [[3, 1, 2, 4, 5, 6, 7, 8]], "valid": [[9, 10, 11, 12]], "tstid": [list(range(13, 31))]}
    savemat(folder / "setid.mat", {key: np.array(value, np.uint16) for key, value in sets.items()})
    return f"flowers102:{root}"


def food101(root: Path) -> str:
    folder = root / "food-101"
    names = ["apple_pie", "baby_back_ribs", "baklava"]
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for label, name in enumerate(names):
        for i in range(8):
            lists["train" if i < 6 else "test"].append(f"{name}/{1000 + i}")
            image(folder / f"images/{name}/{1000 + i}.jpg", label)
    (folder / "meta").mkdir()
    (folder / "meta/classes.txt").write_text("\n".join(names) + "\n")
    for split, listed in lists.items():
        (folder / f"meta/{split}.txt").write_text("\n".join(listed) + "\n")
    return f"food101:{root}"


WNIDS = ("n01440764", "n01443537", "n02007558")


def imagenet(root: Path, flat: str = "") -> str:
    for label, name in enumerate(WNIDS):
        for i in range(4):
            image(root / f"train/{name}/{name}_{i}.JPEG", label)
    for i in range(1, 7):
        inner = "" if flat else f"{WNIDS[i % 3]}/"
        image(root / f"val/{inner}ILSVRC2012_val_{i:08d}.JPEG", i % 3)
    if flat == "csv":
        rows = [f"ILSVRC2012_val_{i:08d},{WNIDS[i % 3]} 1 2 30 40 {WNIDS[i % 3]} 3 4 5 6 " for i in (4, 2, 1, 3, 6, 5)]
        (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]) + "\n")
    if flat == "devkit":
        from scipy.io import savemat

        kit = root / "ILSVRC2012_devkit_t12/data"
        kit.mkdir(parents=True)
        order = {1: WNIDS[2], 2: WNIDS[0], 3: WNIDS[1]}  # the kit's own order, not that of the WNIDs
        synsets = np.array(list(order.items()), dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")])
        savemat(kit / "meta.mat", {"synsets": synsets[:, None]})
        back = {name: i for i, name in order.items()}
        (kit / "ILSVRC2012_validation_ground_truth.txt").write_text(
            "\n".join(str(back[WNIDS[i % 3]]) for i in range(1, 7)) + "\n"
        )
    return f"imagenet:{root}"


# --- segmentation -----------------------------------------------------------------------------------------------------


def ade20k(root: Path) -> str:
    folder = root / "ADEChallengeData2016"
    for part, count in (("training", 10), ("validation", 4)):
        for i in range(1, count + 1):
            name = f"ADE_{part[:5]}_{i:08d}"
            image(folder / f"images/{part}/{name}.jpg", i)
            mask(folder / f"annotations/{part}/{name}.png", values(1, 150, 0))
    header = "Idx\tRatio\tTrain\tVal\tStuff\tName\n"
    (folder / "objectInfo150.txt").write_text(
        header + "".join(f"{i}\t0.1\t1\t1\t0\tthing{i}, other{i}\n" for i in range(1, 151))
    )
    return f"ade20k:{root}"


def cityscapes(root: Path) -> str:
    for part, city, count in (("train", "aachen", 6), ("train", "ulm", 4), ("val", "munster", 4)):
        for i in range(count):
            name = f"{city}_{i:06d}_000019"
            image(root / f"leftImg8bit/{part}/{city}/{name}_leftImg8bit.png", i)
            mask(root / f"gtFine/{part}/{city}/{name}_gtFine_labelIds.png", values(7, 26, 0))
            mask(root / f"gtFine/{part}/{city}/{name}_gtFine_instanceIds.png", values(7, 26, 0))
    return f"cityscapes:{root}"


def voc2012(root: Path) -> str:
    folder = root / "VOCdevkit/VOC2012"
    for part, count in (("train", 10), ("val", 4)):
        names = [f"2007_{part}_{i:06d}" for i in range(count)]
        for i, name in enumerate(names):
            image(folder / f"JPEGImages/{name}.jpg", i)
            mask(folder / f"SegmentationClass/{name}.png", values(0, 15, 255), palette=True)
        (folder / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
        (folder / f"ImageSets/Segmentation/{part}.txt").write_text("\n".join(names) + "\n")
    image(folder / "JPEGImages/2012_of_no_split.jpg")
    return f"voc2012:{root}"


def foodseg103(root: Path) -> str:
    folder = root / "FoodSeg103"
    for part, count in (("train", 10), ("test", 4)):
        for i in range(count):
            image(folder / f"Images/img_dir/{part}/{i:08d}.jpg", i)
            mask(folder / f"Images/ann_dir/{part}/{i:08d}.png", values(0, 103, 255))
    names = ["background", *(f"food {i}" for i in range(1, 104))]
    (folder / "category_id.txt").write_text("".join(f"{i}\t{name}\n" for i, name in enumerate(names)))
    return f"foodseg103:{root}"


def folder_masks(root: Path) -> str:
    for part, count in (("train", 8), ("val", 3), ("test", 4)):
        for i in range(count):
            image(root / f"images/{part}/a/{i}.jpg", i)
            mask(root / f"annotations/{part}/a/{i}.png", values(0, 2, 255))
    return f"folder:{root}"


# --- depth ------------------------------------------------------------------------------------------------------------


def metres() -> np.ndarray:
    """float32 [H,W]: 3 m, 1.5 m in the block, nothing in the first row."""
    depth = np.full((HEIGHT, WIDTH), 3.0, np.float32)
    depth[ROWS, COLUMNS] = 1.5
    depth[0] = 0
    return depth


def folder_depth(root: Path, end: str = ".png") -> str:
    for part, count in (("train", 8), ("val", 3), ("test", 4)):
        (root / f"depth/{part}").mkdir(parents=True)
        for i in range(count):
            image(root / f"images/{part}/{i}.png", i)
            if end == ".npy":
                np.save(root / f"depth/{part}/{i}.npy", metres())
            else:
                Image.fromarray((metres() * 1000).astype(np.uint16)).save(root / f"depth/{part}/{i}.png")
    return f"folder:{root}"


def nyu_depth_v2(root: Path, width: int = 640, height: int = 480) -> str:
    import h5py
    from scipy.io import savemat

    images = np.zeros((12, 3, width, height), np.uint8)  # MATLAB's columns first
    depths = np.full((12, width, height), 3.0, np.float32)
    images[:, 0, 100:120, 60:90] = 255  # rows 60:90, columns 100:120
    images[:, 2] = (np.arange(12) * 10).astype(np.uint8)[:, None, None]
    depths[:, 100:120, 60:90] = 1.5
    depths[:, 300, 200], depths[:, 301, 200], depths[:, 302, 200] = 10.5, 0.0005, 0
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"], file["depths"], file["rawDepths"] = images, depths, depths * (depths > 2)
    savemat(
        root / "splits.mat",
        {"trainNdxs": np.array([[i] for i in range(1, 9)]), "testNdxs": np.array([[12], [9], [10], [11]])},
    )
    return f"nyu_depth_v2:{root}"


SCENES = ("living_room_0010a", "living_room_0010b", "kitchen_0028a", "study_room_0004", "bath_0007", "cafe_0001c")


def nyu_pixels(label: int) -> np.ndarray:
    """uint8 [480,640,3]: blue by label, and red in rows 60:90, columns 100:120."""
    array = np.zeros((480, 640, 3), np.uint8)
    array[..., 2] = 10 * label
    array[60:90, 100:120] = (255, 0, 0)
    return array


def nyu_metres() -> np.ndarray:
    """float32 [480,640]: 3 m, 1.5 m in the block, 10.5 m and nothing in two other pixels."""
    depth = np.full((480, 640), 3.0, np.float32)
    depth[60:90, 100:120] = 1.5
    depth[200, 300], depth[200, 301] = 10.5, 0
    return depth


def jpeg(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, quality=95, subsampling=0)


def nyu_24k(root: Path) -> str:
    """The folder of BTS: synchronised frames, the official test pairs, and their lists with focal lengths."""
    millimetres = Image.fromarray((nyu_metres() * 1000).astype(np.uint16))
    train = [f"/{scene}/{{}}_{i:05d}" for scene in SCENES for i in range(0, 6, 3)]
    test = [f"/{scene}/{{}}_{i:05d}" for i, scene in enumerate(("kitchen", "kitchen", "office", "bathroom"))]
    for part, places, folder in (("train", train, "sync"), ("test", test, "official_splits/test")):
        for i, place in enumerate(places):
            jpeg(root / f"{folder}{place.format('rgb')}.jpg", nyu_pixels(i))
            millimetres.save(root / f"{folder}{place.format('sync_depth')}.png")
        lines = [f"{place.format('rgb')}.jpg {place.format('sync_depth')}.png 518.8579\n" for place in places]
        path = root / f"train_test_inputs/nyudepthv2_{part}_files_with_gt.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(lines))
    jpeg(root / "sync/attic_0001/rgb_00000.jpg", nyu_pixels(0))  # a frame of no list
    return f"nyu_depth_v2:{root}"


def nyu_47k(root: Path) -> str:
    """FastDepth's archive as it unpacks."""
    import h5py

    train = [f"train/{scene}/{i:05d}.h5" for scene in SCENES for i in (1, 6)]
    for i, name in enumerate([*train, *(f"val/official/{i:05d}.h5" for i in (1, 2, 9, 14))]):
        (root / "nyudepthv2" / name).parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(root / "nyudepthv2" / name, "w") as file:
            file["rgb"], file["depth"] = nyu_pixels(i % 8).transpose(2, 0, 1), nyu_metres()
    return f"nyu_depth_v2:{root}"


def tiff(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "TIFF")
    return stream.getvalue()


def nyu_hub(root: Path) -> str:
    """The hub's columns as its own library writes them to parquet."""
    for split, count in (("train", 12), ("validation", 4)):
        images = [{"bytes": encoded(nyu_pixels(i % 8)), "path": None} for i in range(count)]
        depths = [{"bytes": tiff(nyu_metres()), "path": None}] * count
        parquet(root / f"data/{split}-00000-of-00001.parquet", {"image": images, "depth_map": depths})
    return f"nyu_depth_v2:{root}"


def nyu_50k(root: Path) -> str:
    """The archive of Hu et al. and DenseDepth as it unpacks: 255ths of 10 m in training, millimetres in test."""
    data = root / "nyu_data/data"
    train = [(f"nyu2_train/{scene}_out/{i}.jpg", f"nyu2_train/{scene}_out/{i}.png") for scene in SCENES for i in (1, 2)]
    test = [(f"nyu2_test/{i:05d}_colors.png", f"nyu2_test/{i:05d}_depth.png") for i in (0, 1, 8, 13)]
    eighths = Image.fromarray((nyu_metres().clip(0, 10) * 25.5).round().astype(np.uint8))
    sixteenths = Image.fromarray((nyu_metres() * 1000).astype(np.uint16))
    for part, pairs, depth in (("train", train, eighths), ("test", test, sixteenths)):
        for i, (image, target) in enumerate(pairs):
            jpeg(data / image, nyu_pixels(i)) if part == "train" else mask(data / image, nyu_pixels(i))
            depth.save(data / target)
        (data / f"nyu2_{part}.csv").write_text("".join(f"data/{image},data/{target}\n" for image, target in pairs))
    return f"nyu_depth_v2:{root}"


# --- the hub's parquet ------------------------------------------------------------------------------------------------


def encoded(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def parquet(path: Path, columns: dict, names: dict[str, list[str]] | None = None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {key: {"names": value, "_type": "ClassLabel"} for key, value in (names or {}).items()}
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=3)


def hub_images(count: int) -> list[dict]:
    return [{"bytes": encoded(pixels(i)), "path": f"{i}.png"} for i in range(count)]


def hf_labels(root: Path) -> str:
    for split, shards in (("train", 2), ("test", 1)):
        for shard in range(shards):
            columns = {"img": hub_images(10), "label": [i % 3 for i in range(10)], "note": ["x"] * 10}
            parquet(
                root / f"data/{split}-{shard:05d}-of-{shards:05d}.parquet", columns, {"label": ["ant", "bee", "cat"]}
            )
    return f"hf:{root}(image=img)"


def hf_masks(root: Path) -> str:
    for split, count in (("train", 8), ("validation", 4)):
        columns = {
            "image": [image["bytes"] for image in hub_images(count)],
            "annotation": [{"bytes": encoded(values(1, 3, 0))}] * count,
        }
        parquet(root / f"default/{split}/0000.parquet", columns)
    return f"hf:{root}(task=segmentation, mask=annotation, classes=3, zero_void=true)"


def hf_depth(root: Path) -> str:
    millimetres = encoded((metres() * 1000).astype(np.uint16))
    for split, count, depth in (
        ("train", 8, {"bytes": millimetres}),
        ("validation", 3, {"bytes": millimetres}),
        ("test", 4, None),
    ):
        columns = {"image": hub_images(count), "depth_map": [depth or {"bytes": millimetres}] * count}
        parquet(root / f"{split}-00000-of-00001.parquet", columns)
    return f"hf:{root}(task=depth, depth=depth_map)"
