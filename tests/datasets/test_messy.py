"""Folders and lists as people and other systems leave them: what is an image, a class, a split, and what is not."""

import os
from pathlib import Path

import numpy as np
import published
import pytest
from PIL import Image

from brittle.api import load_dataset
from brittle.core.errors import UsageError
from brittle.datasets.parts import audit, listed, walk


def _images(root: Path, *names: str) -> str:
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (i % 256, i // 256, 0)).save(root / name)
    return f"folder:{root}"


def _classes(*places: str, count: int = 3) -> list[str]:
    return [f"{place}/{name}/{i}.png" for place in places for name in ("cat", "dog") for i in range(count)]


@pytest.mark.parametrize(
    ("train", "test"), [("train", "valid"), ("Train", "Validation"), ("training", "testing"), ("TRAIN", "dev")]
)
def test_splits_have_the_names_that_people_give_them(tmp_path: Path, train: str, test: str) -> None:
    text = _images(tmp_path, *_classes(train, count=20), *_classes(test))
    data = load_dataset(text)
    assert data.classes == {"label": ["cat", "dog"]}
    assert [name.split("/")[0] for name in data.ids] == [test] * 6
    assert len(load_dataset(text, "train")) + len(load_dataset(text, "val")) == 40


def test_all_three_splits_in_other_words(tmp_path: Path) -> None:
    text = _images(tmp_path, *_classes("Training", "Valid", "Testing"))
    assert [load_dataset(text, split).ids[0] for split in ("train", "val", "test")] == [
        f"{place}/cat/0.png" for place in ("Training", "Valid", "Testing")
    ]


def test_a_lone_training_folder_is_split_by_name(tmp_path: Path) -> None:
    text = _images(tmp_path, *_classes("train", count=10))
    parts = [load_dataset(text, split) for split in ("train", "val", "test")]
    assert [part.classes["label"] for part in parts] == [["cat", "dog"]] * 3
    assert sum(map(len, parts)) == 20


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    text = _images(tmp_path, *(f"{name}/{i}.png" for name in ("bus", "train") for i in range(9)))
    assert load_dataset(text).classes == {"label": ["bus", "train"]}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["train/1.png", "valid/2.png"], "train, valid hold images without a class"),
        (_classes("val", "valid", "train"), "val/ and valid/ are both the val split"),
        (_classes("val", "test"), "test, val without train/"),
        (["images/1.png", "masks/1.png"], "images/ and masks/ look like images and their targets"),
        (["images/1.png", "labels/1.png"], "images/ and labels/ look like"),
        (["img_dir/1.png", "ann_dir/1.png"], "img_dir/ and ann_dir/ look like"),
        (["JPEGImages/1.png", "SegmentationClass/1.png"], "JPEGImages/ and SegmentationClass/ look like"),
        (["train/images/1.png", "train/labels/1.png", "valid/images/2.png"], "images/ and labels/ look like"),
        (["rgb/1.png", "depth/1.png"], "rgb/ and depth/ look like"),
    ],
)
def test_what_is_no_class_is_not_taken_for_one(tmp_path: Path, names: list[str], said: str) -> None:
    text = _images(tmp_path, *names)
    with pytest.raises(UsageError) as error:
        load_dataset(text)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_what_other_programs_leave_is_passed_over_and_counted(tmp_path: Path) -> None:
    text = _images(tmp_path, *_classes("train", "val", "test"))
    _images(tmp_path, "train/.ipynb_checkpoints/x.png", "__MACOSX/train/cat/1.png", "test/.hidden/1.png")
    for name in ("test/cat/._0.png", "test/dog/.DS_Store", "test/cat/Thumbs.db", "test/cat/notes.txt", "readme.md"):
        (tmp_path / name).write_bytes(b"no image")
    (tmp_path / "test/cat/gone.png").symlink_to(tmp_path / "nowhere.png")
    data = load_dataset(text)
    assert data.classes == {"label": ["cat", "dog"]}
    assert len(data) == 6
    said = walk.words(data.passed_over)
    assert f"1 .txt, 2 beside the splits, 5 {walk.HIDDEN}, 1 {walk.BROKEN}" in said
    reports = audit.audit(text)
    assert [line for split in reports for line in split.defects] == []
    assert f"passed over: {said}" in reports[2].text()


def test_links_are_followed_but_not_round(tmp_path: Path) -> None:
    _images(tmp_path / "elsewhere", "a.png", "b.png")
    text = _images(tmp_path / "mine", *_classes("train", "val", "test"))
    (tmp_path / "mine/test/cat/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "mine/test/dog/again").symlink_to(tmp_path / "mine/test")
    (tmp_path / "mine/test/fox").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "mine/train/fox").symlink_to(tmp_path / "elsewhere")
    data = load_dataset(text)
    assert [name for name in data.ids if "more" in name or "fox" in name] == [
        "test/cat/more/a.png",
        "test/cat/more/b.png",
        "test/fox/a.png",
        "test/fox/b.png",
    ]
    assert data.passed_over[walk.LOOP] >= 1
    assert len(data.ids) == len(set(data.ids)) < 40


def test_imagenet_follows_linked_classes_and_labels_by_folder(tmp_path: Path) -> None:
    wnids = ("n01", "n02")
    for wnid in wnids:
        _images(tmp_path, *(f"train/{wnid}/{i}.JPEG" for i in range(4)))
        _images(tmp_path / "store", f"{wnid}/same.JPEG", f"{wnid}/._same.JPEG")
        (tmp_path / "val").mkdir(exist_ok=True)
        (tmp_path / "val" / wnid).symlink_to(tmp_path / "store" / wnid)
    (tmp_path / "train/.ipynb_checkpoints").mkdir()
    _images(tmp_path, "train/n01/._0.JPEG")
    data = load_dataset(f"imagenet:{tmp_path}")
    assert data.ids == ["val/n01/same.JPEG", "val/n02/same.JPEG"]
    assert [int(data[i].targets["label"]) for i in range(2)] == [0, 1]
    assert data.classes == {"label": list(wnids)}
    train = load_dataset(f"imagenet:{tmp_path}", "train")
    assert not any("._" in name for name in train.ids)


def test_a_name_that_is_no_text_is_a_name(tmp_path: Path) -> None:
    text = _images(tmp_path, *_classes("train", "val", "test"))
    os.rename(os.fsencode(tmp_path / "test/cat/0.png"), os.fsencode(tmp_path / "test/cat") + b"/\xff\xfe.png")  # noqa: PTH104
    data = load_dataset(text)
    assert [os.fsencode(name) for name in data.ids if name.startswith("test/cat/\udcff")] == [b"test/cat/\xff\xfe.png"]
    assert len(data.fingerprint) == 64
    assert data[0].image.shape[0] == 3


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_a_small_folder_has_an_image_in_each_split(tmp_path: Path, count: int) -> None:
    for name in ("plain", "pairs"):
        root = tmp_path / name
        if name == "plain":
            text = _images(root, *(f"{'ab'[i % 2]}/{i}.png" for i in range(count)))
        else:
            text = _images(root, *(f"images/{i}.png" for i in range(count)))
            for i in range(count):
                published.mask(root / f"annotations/{i}.png", np.array([[0, 1]] * 4, np.uint8).repeat(2, 1))
        parts = [load_dataset(text, split) for split in ("train", "val", "test")]
        assert all(len(part) > 0 for part in parts)
        assert len({name for part in parts for name in part.ids}) == count == sum(map(len, parts))


def test_pairs_in_other_cases_are_found_and_orphans_counted(tmp_path: Path) -> None:
    published.folder_masks(tmp_path)
    (tmp_path / "images").rename(tmp_path / "Images")
    (tmp_path / "annotations").rename(tmp_path / "Annotations")
    masks = tmp_path / "Annotations/test/a"
    first = min(masks.iterdir())
    first.rename(first.with_suffix(".PNG"))
    published.mask(masks / "orphan.png", published.values(0, 1, None))
    (masks / "._0.png").write_bytes(b"resource fork")
    data = load_dataset(f"folder:{tmp_path}(classes=3)")
    assert all(sample.image.shape[1:] == sample.targets["mask"].shape for sample in (data[i] for i in range(len(data))))
    assert data.passed_over["mask files of no image"] == 1
    assert data.passed_over[walk.HIDDEN] == 1


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lists_of_other_systems_are_read(tmp_path: Path, code: str, end: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(end.join(["K\u00e4se\\1.JPG \t", "", "brot/2", ""]).encode(code))
    assert listed.listed_names(path, ".jpg") == ["K\u00e4se/1", "brot/2"]


def test_voc_is_read_from_a_list_and_files_of_another_system(tmp_path: Path) -> None:
    text = published.voc2012(tmp_path)
    before = load_dataset(text)
    known = before.fingerprint
    root = tmp_path / "VOCdevkit/VOC2012"
    path = root / "ImageSets/Segmentation/val.txt"
    path.write_bytes("\r\n".join(f"{line} " for line in path.read_text().split()).encode("utf-16"))
    image = root / "JPEGImages" / f"{before.ids[0]}.jpg"
    image.rename(image.with_suffix(".JPG"))
    after = load_dataset(text)
    assert after.ids == before.ids
    assert after.fingerprint == known
    assert after[0].image.shape == (3, 32, 48)


def test_the_same_data_by_another_path_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _images(tmp_path / "mine", *_classes("train", "val", "test"))
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = [str(tmp_path / "mine"), f"{tmp_path}/mine/", "mine", "./mine", "link", "~/mine", "mine/../mine"]
    assert len({load_dataset(f"folder:{path}").fingerprint for path in paths}) == 1


# --- data check -------------------------------------------------------------------------------------------------------


def test_copies_are_counted_within_and_across_splits(tmp_path: Path) -> None:
    text = _images(tmp_path, *_classes("train", "val", "test"))
    for name in ("test/dog/9.png", "test/cat/8.png"):
        (tmp_path / name).write_bytes((tmp_path / "test/cat/0.png").read_bytes())
    (tmp_path / "test/cat/7.png").write_bytes((tmp_path / "train/cat/0.png").read_bytes())
    test = audit.audit(text)[2]
    assert test.copies == {"test": 2, "train": 1}
    assert "2 images are copies of others in test" in test.text()


def test_a_file_swapped_under_an_equal_size_and_time_is_a_defect(tmp_path: Path) -> None:
    text = _images(tmp_path, *(name.replace("png", "bmp") for name in _classes("train", "val", "test")))
    path = tmp_path / "test/cat/0.bmp"
    assert not audit.audit(text)[2].defects
    assert not audit.audit(text)[2].defects
    status = path.stat()
    Image.new("RGB", (4, 4), (7, 7, 7)).save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    (line,) = audit.audit(text)[2].defects
    assert "content changed since it was first checked" in line
    os.utime(path)
    assert not audit.audit(text)[2].defects


def test_names_of_several_classes_and_of_none_are_defects(tmp_path: Path) -> None:
    text = published.folder_masks(tmp_path)
    (tmp_path / "classes.txt").write_text("sea\nsand\nsea\nship\n")
    lines = [line for split in audit.audit(text) for line in split.defects]
    assert any("'sea'; rename one" in line for line in lines)
    assert any("'ship' of 4 classes occur in no split; 255 in the masks is void" in line for line in lines)
    (tmp_path / "plain").mkdir()
    plain = _images(tmp_path / "plain", *_classes("train", "val", "test"))
    (tmp_path / "plain/train/emu").mkdir()
    lines = [line for split in audit.audit(plain) for line in split.defects]
    assert lines == ["label: 'emu' of 3 classes occur in no split; check the names"]
