"""``brittle data``: every planted defect is found, named and has a remedy; nothing in a pickle runs; what is absent is
said in a line."""

import io
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import published
import pytest
import torch
from PIL import Image

from brittle import cli
from brittle.api import load_dataset
from brittle.core.errors import MissingError, UsageError
from brittle.datasets.parts import audit


def defects(text: str) -> list[str]:
    found = [line for split in audit.audit(text) for line in split.defects]
    assert all("\n" not in line for line in found)
    return found


def command(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``brittle WORDS``."""
    monkeypatch.setattr(sys, "argv", ["brittle", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out = capsys.readouterr()
    return int(ended.value.code or 0), out.out, out.err


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# --- planted defects --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cut", "empty", "text", "gone"])
def test_an_unreadable_image_is_named(tmp_path, how) -> None:
    text = published.voc2012(tmp_path)
    victim = tmp_path / "VOCdevkit/VOC2012/JPEGImages/2007_val_000002.jpg"
    {
        "cut": lambda: cut_short(victim),
        "empty": lambda: victim.write_bytes(b""),
        "text": lambda: victim.write_text("no"),
    }.get(how, victim.unlink)()
    (line,) = defects(text)
    assert str(victim) in line
    assert "remove or fix" in line or "is gone" in line
    assert [split.unreadable for split in audit.audit(text)] == [0, 0, 1]


def test_the_others_are_counted_all_the_same(tmp_path) -> None:
    text = published.voc2012(tmp_path)
    cut_short(tmp_path / "VOCdevkit/VOC2012/JPEGImages/2007_val_000002.jpg")
    test = audit.audit(text)[2]
    assert test.images == 4
    assert (test.smallest, test.largest) == ((48, 32), (48, 32))
    mask = test.kinds["mask"]
    assert (mask.pixels, mask.void) == (3 * 48 * 32, 3 * 48)
    assert mask.counts.nonzero().flatten().tolist() == [0, 15]
    assert mask.text() == (
        "2 of 21 classes present; absent: aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow ...; "
        "3.12 % void"
    )


def test_a_mask_of_another_size_is_named(tmp_path) -> None:
    text = published.ade20k(tmp_path)
    mask = np.pad(published.values(1, 150, 0), ((0, 1), (0, 0)), constant_values=1)
    published.mask(tmp_path / "ADEChallengeData2016/annotations/validation/ADE_valid_00000003.png", mask)
    (line,) = defects(text)
    assert line.startswith("validation/ADE_valid_00000003.jpg: image is 48x32 and mask 48x33; ")


@pytest.mark.parametrize(
    ("write", "inner", "value", "said"),
    [
        (
            published.ade20k,
            "ADEChallengeData2016/annotations/validation/ADE_valid_00000001.png",
            151,
            "mask 150 is none of the 150",
        ),
        (
            published.cityscapes,
            "gtFine/val/munster/munster_000000_000019_gtFine_labelIds.png",
            34,
            "mask 34 is none of the 19",
        ),
        (published.voc2012, "VOCdevkit/VOC2012/SegmentationClass/2007_val_000000.png", 21, "mask 21 is none of the 21"),
        (published.foodseg103, "FoodSeg103/Images/ann_dir/test/00000000.png", 104, "mask 104 is none of the 104"),
    ],
)
def test_a_class_out_of_range_is_named(tmp_path, write, inner, value, said) -> None:
    text = write(tmp_path)
    assert (tmp_path / inner).is_file()
    published.mask(tmp_path / inner, published.values(1, value, None))
    (line,) = defects(text)
    assert said in line
    assert Path(inner).stem.replace("_gtFine_labelIds", "") in line


@pytest.mark.fault("F08")
def test_a_label_out_of_range_is_found_at_load(tmp_path) -> None:
    text = published.cifar10_binary(tmp_path)
    batch = tmp_path / "cifar-10-batches-bin/test_batch.bin"
    data = bytearray(batch.read_bytes())
    data[3 * 3073] = 10
    batch.write_bytes(data)
    with pytest.raises(UsageError, match="label 10 of image 3 is none of the 10 classes"):
        load_dataset(text, "test")
    (line,) = defects(text)
    assert line.startswith("test split: ")
    published.parquet(
        tmp_path / "hub/train.parquet", {"image": published.hub_images(4), "label": [0, 1, 0, 1]}, {"label": ["a", "b"]}
    )
    published.parquet(tmp_path / "hub/test.parquet", {"image": published.hub_images(4), "label": [0, -1, 0, 1]})
    with pytest.raises(UsageError, match="test-0000001: label -1 is none of the 2 classes"):
        load_dataset(f"hf:{tmp_path}/hub", "test")


def test_an_empty_split_is_named(tmp_path) -> None:
    text = published.food101(tmp_path)
    (tmp_path / "food-101/meta/test.txt").write_text("")
    (line,) = defects(text)
    assert "the test split has no images" in line


@pytest.mark.fault("F09")
@pytest.mark.parametrize(("value", "what"), [(np.nan, "nan or inf"), (np.inf, "nan or inf"), (-1, "negative")])
def test_depth_that_is_no_number_is_named_and_void(tmp_path, value, what) -> None:
    text = published.folder_depth(tmp_path, ".npy")
    metres = published.metres()
    metres[20, 30] = value
    np.save(tmp_path / "depth/test/2.npy", metres)
    (line,) = defects(text)
    assert line == f"images/test/2.png: 1 pixels of depth are {what} and count as void; write 0 there"
    depth = load_dataset(text)[2].targets["depth"][0]
    assert depth[20, 30] == 0
    assert (depth == 0).sum() == 49
    assert audit.audit(text)[2].kinds["depth"].text().startswith("1.500 to 3.000 m; 3.14 % void")


def test_a_image_without_its_mask_is_named(tmp_path) -> None:
    text = published.folder_masks(tmp_path)
    (tmp_path / "annotations/val/a/1.png").unlink()
    assert all("images/val/a/1.jpg: has no " in line for line in defects(text))


def test_one_image_in_two_splits_is_named(tmp_path) -> None:
    text = published.voc2012(tmp_path)
    sets = tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    (sets / "val.txt").write_text((sets / "val.txt").read_text() + "2007_train_000001\n")
    assert any("2007_train_000001: is in" in line for line in defects(text))


def test_images_with_nothing_but_void_are_counted(tmp_path) -> None:
    text = published.foodseg103(tmp_path)
    published.mask(tmp_path / "FoodSeg103/Images/ann_dir/test/00000001.png", published.values(255, 255, 255))
    test = audit.audit(text)[2]
    assert not test.defects
    assert "1 images with nothing but void" in test.text()


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_ends_with_3_where_something_is_wrong(tmp_path, monkeypatch, capsys) -> None:
    text = published.voc2012(tmp_path)
    code, out, _ = command(monkeypatch, capsys, "data", "check", text)
    assert code == 0
    assert "test  4 images, 48x32 to 48x32 (width x height), 0 defects" in out
    cut_short(tmp_path / "VOCdevkit/VOC2012/JPEGImages/2007_val_000002.jpg")
    code, out, _ = command(monkeypatch, capsys, "data", "check", text)
    assert code == 3
    assert [line for line in out.splitlines() if line.startswith("defect: ") and "2007_val_000002.jpg" in line]


def test_the_command_ends_with_4_where_nothing_is_there(tmp_path, monkeypatch, capsys) -> None:
    code, _, error = command(monkeypatch, capsys, "data", "check", f"ade20k:{tmp_path}/absent")
    assert code == 4
    assert error.startswith("brittle: ade20k: no folder ")
    assert len(error.splitlines()) == 1


def test_info_needs_no_data(monkeypatch, capsys) -> None:
    code, out, _ = command(monkeypatch, capsys, "data", "info", "nyu_depth_v2")
    assert code == 0
    assert "crop=eigen" in out
    assert "splits.mat" in out
    assert command(monkeypatch, capsys, "data", "info", "nyu")[0] == 2


def test_what_cannot_be_fetched_is_said_in_a_line(tmp_path, monkeypatch, capsys) -> None:
    code, _, error = command(monkeypatch, capsys, "data", "download", f"cityscapes:{tmp_path}")
    assert code == 2
    assert "cityscapes-dataset.com" in error
    assert len(error.splitlines()) == 1

    import torchvision.datasets

    def offline(*_positional: object, **_settings: object) -> None:
        raise OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", offline)
    code, _, error = command(monkeypatch, capsys, "data", "download", f"cifar10:{tmp_path}")
    assert code == 4
    assert "could not be fetched" in error
    assert "kriz" in error
    assert len(error.splitlines()) == 1


def test_the_readers_of_torchvision_are_called_as_they_are_written(tmp_path, monkeypatch) -> None:
    import inspect

    import torchvision.datasets

    from brittle.core import components

    for name in components.names("datasets"):
        download = components.component("datasets", name).traits.download
        reader, settings = download if isinstance(download, tuple) else ("MNIST", ())
        taken = inspect.signature(getattr(torchvision.datasets, reader).__init__).parameters
        assert all({"download", *each} <= taken.keys() for each in settings), name


# --- pickles ----------------------------------------------------------------------------------------------------------


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.threat("pickle")
@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_code_is_refused_and_does_not(tmp_path, protocol) -> None:
    text = published.cifar10_python(tmp_path)
    canary = tmp_path / "canary"
    content = {**published.batch([0, 1], "labels"), "more": Canary(canary)}
    (tmp_path / "cifar-10-batches-py/test_batch").write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(UsageError, match=r"test_batch: .*fetch"):
        load_dataset(text, "test")
    assert not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary), protocol))  # noqa: S301 - the canary is alive
    assert canary.exists()


@pytest.mark.parametrize("protocol", [3, 4])
def test_batches_saved_again_by_a_newer_python_are_read(tmp_path, protocol) -> None:
    text = published.cifar10_python(tmp_path)
    (tmp_path / "cifar-10-batches-py/test_batch").write_bytes(pickle.dumps(published.batch([3, 1], "labels"), protocol))
    data = load_dataset(text, "test")
    assert [int(data[i].targets["label"]) for i in range(2)] == [3, 1]
    assert data[0].image[0, 8, 24] == 255


def test_a_damaged_pickle_is_refused_in_one_line(tmp_path) -> None:
    text = published.cifar10_python(tmp_path)
    path = tmp_path / "cifar-10-batches-py/test_batch"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[int(rng.integers(0, 200))] = int(rng.integers(0, 256))
        for data in (bytes(damaged), whole[: int(rng.integers(0, len(whole)))]):
            path.write_bytes(data)
            try:
                load_dataset(text, "test")
            except UsageError as error:
                assert str(path.parent) in str(error)  # noqa: PT017 - a flipped pixel is an image all the same


# --- layouts of one's own and of the hub ------------------------------------------------------------------------------


def test_classes_of_masks_are_said_or_counted(tmp_path) -> None:
    text = published.folder_masks(tmp_path)
    assert len(load_dataset(text).classes["mask"]) == 3
    assert len(load_dataset(f"{text}(classes=7)").classes["mask"]) == 7
    (tmp_path / "classes.txt").write_text("sea\nsand\nship\n")
    assert list(load_dataset(text).classes["mask"]) == ["sea", "sand", "ship"]
    with pytest.raises(UsageError, match="has 3 names, but classes=7"):
        load_dataset(f"{text}(classes=7)")


def test_pairs_without_splits_are_split_by_name(tmp_path) -> None:
    (tmp_path / "depth").mkdir()
    for i in range(30):
        published.image(tmp_path / f"images/{i}.png", i)
        published.mask(tmp_path / f"annotations/{i}.png", published.values(0, 1, 255))
        Image.fromarray((published.metres() * 100).astype(np.uint16)).save(tmp_path / f"depth/{i}.png")
    splits = [load_dataset(f"folder:{tmp_path}(depth_scale=0.01)", split) for split in ("train", "val", "test")]
    assert sum(map(len, splits)) == 30
    sample = splits[2][0]
    assert sorted(sample.targets) == ["depth", "mask"]
    assert float(sample.targets["depth"][0, 10, 26]) == pytest.approx(1.5)


def test_a_colour_mask_is_refused(tmp_path) -> None:
    text = published.folder_masks(tmp_path)
    published.image(tmp_path / "annotations/test/a/0.png")
    assert any("has colours (mode RGB), not class numbers" in line for line in defects(f"{text}(classes=3)"))


def test_a_missing_shard_is_named(tmp_path) -> None:
    text = published.hf_labels(tmp_path)
    (tmp_path / "data/train-00001-of-00002.parquet").unlink()
    with pytest.raises(MissingError, match="1 of 2 shards like train-00000-of-00002"):
        load_dataset(text, "train")


def test_a_damaged_shard_and_a_wrong_column_are_named(tmp_path) -> None:
    text = published.hf_labels(tmp_path)
    with pytest.raises(UsageError, match="no column 'image'; there is img, label, note"):
        load_dataset(f"hf:{tmp_path}")
    cut_short(tmp_path / "data/test-00000-of-00001.parquet")
    with pytest.raises(UsageError, match="is no parquet file or is cut short"):
        load_dataset(text, "test")


def test_several_configurations_need_a_word(tmp_path) -> None:
    for config in ("small", "large"):
        for split in ("train", "test"):
            published.parquet(
                tmp_path / config / f"{split}-00000-of-00001.parquet",
                {"image": published.hub_images(4), "label": [0, 1, 0, 1]},
            )
    with pytest.raises(UsageError, match=r"several configurations \(large, small\)"):
        load_dataset(f"hf:{tmp_path}")
    assert len(load_dataset(f"hf:{tmp_path}(config=small)")) == 4
    with pytest.raises(UsageError, match="split_test=NAME"):
        load_dataset(f"hf:{tmp_path}(config=small, split_test=dev)")


def test_words_are_labels_too(tmp_path) -> None:
    for split in ("train", "validation"):
        columns = {"image": published.hub_images(4), "label": ["dog", "cat", "dog", "cat"]}
        published.parquet(tmp_path / f"{split}.parquet", columns)
    data = load_dataset(f"hf:{tmp_path}")
    assert data.classes == {"label": ["cat", "dog"]}
    assert [int(data[i].targets["label"]) for i in range(4)] == [1, 0, 1, 0]


def test_depth_of_the_hub_may_be_floats_or_a_list(tmp_path) -> None:
    stream = io.BytesIO()
    Image.fromarray(published.metres()).save(stream, "TIFF")  # as the hub keeps NYU's depth_map
    for name, value in (("tiff", {"bytes": stream.getvalue(), "path": None}), ("list", published.metres().tolist())):
        for split in ("train", "validation"):
            published.parquet(
                tmp_path / name / f"{split}.parquet", {"image": published.hub_images(4), "depth_map": [value] * 4}
            )
        depth = load_dataset(f"hf:{tmp_path}/{name}(task=depth, depth=depth_map)")[3].targets["depth"]
        assert torch.equal(depth[0], torch.from_numpy(published.metres()))


def test_the_hubs_cache_is_read_without_asking_the_hub(tmp_path, monkeypatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        MissingError, match="org/name is not in the hub's cache; fetch it with brittle data download 'hf:org/name'"
    ):
        load_dataset("hf:org/name(image=img)")
    held = tmp_path / "datasets--org--name"
    (held / "refs").mkdir(parents=True)
    (held / "refs/main").write_text("0" * 40)
    published.hf_labels(held / "snapshots" / ("0" * 40))
    assert len(load_dataset("hf:org/name(image=img)")) == 10


@pytest.mark.parametrize("flat", ["csv", "devkit"])
def test_a_flat_val_needs_its_labels(tmp_path, flat) -> None:
    text = published.imagenet(tmp_path, flat)
    for path in (
        tmp_path / "LOC_val_solution.csv",
        tmp_path / "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt",
    ):
        path.unlink(missing_ok=True)
    with pytest.raises(MissingError, match=r"put LOC_val_solution.csv or ILSVRC2012_devkit_t12 there"):
        load_dataset(text)
    assert len(load_dataset(text, "train")) == 11, "the training split needs none of it"
    assert [line for line in defects(text) if line.startswith("test split: ")]
