"""One tiny copy of each published data set in its exact layout: counts, splits, classes, alignment of a marked block,
void."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import published
import pytest
import torch

from brittle.api import load_dataset, running
from brittle.core import components
from brittle.core.errors import BrittleError, MissingError, UsageError
from brittle.datasets.parts import audit, idx
from brittle.evaluation import loading, probe
from brittle.planning import identity
from brittle.types import as_float
from brittle.types.target import VOID


class Case(NamedTuple):
    write: object
    counts: tuple[int, int, int]  # train, val, test
    kind: str
    classes: int
    labels: tuple[int, ...] = ()  # of the first test images; of masks: ground, block
    void: int = 0  # pixels of a test target


ROW = published.WIDTH
CASES = {
    "cifar10 binary": Case(published.cifar10_binary, (18, 2, 10), "label", 10, (0, 1, 2)),
    "cifar10 python": Case(published.cifar10_python, (18, 2, 10), "label", 10, (0, 1, 2)),
    "cifar100 binary": Case(published.cifar100_binary, (18, 2, 10), "label", 100, (90, 91, 92)),
    "cifar100 python": Case(published.cifar100_python, (18, 2, 10), "label", 100, (90, 91, 92)),
    "stl10": Case(published.stl10, (18, 2, 10), "label", 10, (0, 1, 2)),
    "mnist": Case(published.mnist, (20, 20, 10), "label", 10, (0, 1, 2)),
    "fashion_mnist": Case(
        lambda root: published.mnist(root, "fashion_mnist", "FashionMNIST/raw"), (20, 20, 10), "label", 10, (0, 1, 2)
    ),
    "flowers102": Case(published.flowers102, (8, 4, 18), "label", 102, (100, 101, 99)),
    "food101": Case(published.food101, (-1, -1, 6), "label", 3, (0, 0, 1)),
    "imagenet": Case(published.imagenet, (-1, -1, 6), "label", 3, (0, 0, 1)),
    "imagenet csv": Case(lambda root: published.imagenet(root, "csv"), (-1, -1, 6), "label", 3, (1, 2, 0)),
    "imagenet devkit": Case(lambda root: published.imagenet(root, "devkit"), (-1, -1, 6), "label", 3, (1, 2, 0)),
    "hf labels": Case(published.hf_labels, (-1, -1, 10), "label", 3, (0, 1, 2)),
    "ade20k": Case(published.ade20k, (-1, -1, 4), "mask", 150, (0, 149), ROW),
    "cityscapes": Case(published.cityscapes, (-1, -1, 4), "mask", 19, (0, 13), ROW),
    "voc2012": Case(published.voc2012, (-1, -1, 4), "mask", 21, (0, 15), ROW),
    "foodseg103": Case(published.foodseg103, (-1, -1, 4), "mask", 104, (0, 103), ROW),
    "folder masks": Case(published.folder_masks, (8, 3, 4), "mask", 3, (0, 2), ROW),
    "hf masks": Case(published.hf_masks, (-1, -1, 4), "mask", 3, (0, 2), ROW),
    "folder depth": Case(published.folder_depth, (8, 3, 4), "depth", 0, (), ROW),
    "folder npy": Case(lambda root: published.folder_depth(root, ".npy"), (8, 3, 4), "depth", 0, (), ROW),
    "hf depth": Case(published.hf_depth, (8, 3, 4), "depth", 0, (), ROW),
    "nyu_depth_v2": Case(published.nyu_depth_v2, (7, 1, 4), "depth", 0, (), 480 * 640 - 426 * 560 + 3),
    "nyu_depth_v2 24k": Case(published.nyu_24k, (-1, -1, 4), "depth", 0, (), 480 * 640 - 426 * 560 + 2),
    "nyu_depth_v2 47k": Case(published.nyu_47k, (-1, -1, 4), "depth", 0, (), 480 * 640 - 426 * 560 + 2),
    "nyu_depth_v2 47k hub": Case(published.nyu_hub, (11, 1, 4), "depth", 0, (), 480 * 640 - 426 * 560 + 2),
    "nyu_depth_v2 50k": Case(published.nyu_50k, (-1, -1, 4), "depth", 0, (), 480 * 640 - 426 * 560 + 2),
}
every = pytest.mark.parametrize("name", CASES)


@pytest.fixture(autouse=True)
def few_held_out(monkeypatch) -> None:
    """MNIST and Fashion-MNIST hold out 5,000 images; here 20."""
    assert idx.HELD_OUT == 5000
    monkeypatch.setattr(idx, "HELD_OUT", 20)


@pytest.fixture(scope="module")
def specs(tmp_path_factory) -> dict[str, str]:
    """Each tiny copy, written once."""
    made: dict[str, str] = {}
    for name, case in CASES.items():
        made[name] = case.write(tmp_path_factory.mktemp("data"))
    return made


def block(image: torch.Tensor) -> torch.Tensor:
    """Where an image is red."""
    return (as_float(image)[0] > 0.5) & (as_float(image)[0] >= as_float(image)[2])


@every
def test_counts_splits_and_classes_are_the_published_ones(specs, name) -> None:
    case = CASES[name]
    splits = {split: load_dataset(specs[name], split) for split in ("train", "val", "test")}
    for split, count in zip(splits, case.counts):
        assert len(splits[split]) == len(splits[split].ids) == len(set(splits[split].ids))
        assert count in (-1, len(splits[split])), (split, len(splits[split]))
        assert len(splits[split]) > 0
        assert len(splits[split].classes[case.kind]) == case.classes
        assert splits[split].licence
    ids = [set(data.ids) for data in splits.values()]
    assert not (ids[0] & ids[1])
    assert not (ids[0] & ids[2])
    assert not (ids[1] & ids[2])
    again = load_dataset(specs[name], "val")
    assert list(again.ids) == list(splits["val"].ids)
    assert again.fingerprint == splits["val"].fingerprint
    assert len({data.fingerprint for data in splits.values()}) == 3


@every
def test_a_marked_block_is_where_it_was_put(specs, name) -> None:
    case, data = CASES[name], load_dataset(specs[name], "test")
    image, targets = data[0]
    found = block(image).nonzero()
    edges = (*found.min(0).values.tolist(), *(found.max(0).values + 1).tolist())
    assert edges == {
        "mnist": (8, 16, 16, 24),
        "fashion_mnist": (8, 16, 16, 24),
        "nyu_depth_v2": (60, 100, 90, 120),
    }.get(name.split(" ")[0], (8, 24, 16, 32))
    target = targets[case.kind]
    if case.kind == "label":
        assert target.dtype == torch.int64
        assert tuple(int(data[i].targets["label"]) for i in range(3)) == case.labels
        return
    assert target.shape[-2:] == image.shape[-2:]
    plane = target if case.kind == "mask" else target[0]
    marked = plane == (case.labels[1] if case.kind == "mask" else 1.5)
    assert torch.equal(marked, block(image))
    assert target.dtype == (torch.int64 if case.kind == "mask" else torch.float32)
    assert int((plane == (VOID if case.kind == "mask" else 0)).sum()) == case.void
    rest = plane[~marked & (plane != (VOID if case.kind == "mask" else 0))]
    assert rest.unique().tolist() == [case.labels[0] if case.kind == "mask" else 3.0]


@every
def test_a_glance_sees_the_same_target(specs, name) -> None:
    """Before an attack all targets are looked at without decoding the images."""
    data, kind = load_dataset(specs[name], "test"), CASES[name].kind
    for i in (0, len(data) - 1):
        size, target = data.glance(i, kind)
        image, targets = data[i]
        assert tuple(size) in (image.shape[1:], () if kind == "label" else None)
        assert target.dtype == targets[kind].dtype
        assert torch.equal(target, targets[kind])
    loading.inspect_targets(
        data,
        range(len(data)),
        next(
            task
            for task in map(identity.task_of, components.names("tasks"))
            if task.target and task.target.name == kind
        ),
    )


@every
def test_check_finds_nothing_wrong_in_a_whole_copy(specs, name) -> None:
    found = audit.audit(specs[name], limit=20)
    assert [line for split in found for line in split.defects] == []
    assert all(split.images and split.kinds[CASES[name].kind].text() for split in found)


def test_held_out_images_come_from_the_published_training_split(specs) -> None:
    for name, part in (
        ("ade20k", "training/"),
        ("cityscapes", "leftImg8bit/train/"),
        ("voc2012", "2007_train"),
        ("foodseg103", "train/"),
    ):
        for split in ("train", "val"):
            assert all(each.startswith(part) for each in load_dataset(specs[name], split).ids)
        total = sum(len(load_dataset(specs[name], split)) for split in ("train", "val"))
        assert total == 10, "none is lost"
    test = load_dataset(specs["voc2012"], "test")
    assert list(test.ids) == [f"2007_val_{i:06d}" for i in range(4)]


def test_official_lists_are_kept_in_their_order(specs) -> None:
    assert list(load_dataset(specs["flowers102"], "train").ids)[:2] == ["jpg/image_00003.jpg", "jpg/image_00001.jpg"]
    assert list(load_dataset(specs["nyu_depth_v2"], "test").ids) == ["nyu-0012", "nyu-0009", "nyu-0010", "nyu-0011"]
    assert int(load_dataset(specs["nyu_depth_v2"], "test")[0].image[2, 0, 0]) == 110, "number 12 is the 12th"
    assert list(load_dataset(specs["nyu_depth_v2"], "val").ids) == ["nyu-0008"], "the tail of the training list"


def test_lines_that_number_no_class_are_passed_over(tmp_path) -> None:
    spec = published.foodseg103(tmp_path)
    (path,) = tmp_path.rglob("category_id.txt")
    path.write_text(f"0 background\n1\u00b2 odd\n{'9' * 5000} many\n2 \u0663\n", encoding="utf8")
    assert load_dataset(spec, "test").classes["mask"][:3] == ["background", "class 1", "\u0663"]


def test_names_of_classes_are_the_published_ones(specs) -> None:
    def names(name: str, kind: str) -> list[str]:
        return list(load_dataset(specs[name], "test").classes[kind])

    assert names("ade20k", "mask")[::149] == ["thing1", "thing150"]
    assert names("foodseg103", "mask")[:2] == ["background", "food 1"]
    assert names("cityscapes", "mask")[13] == "car"
    assert names("voc2012", "mask")[15] == "person"
    assert names("hf labels", "label") == ["ant", "bee", "cat"]
    assert names("imagenet", "label") == list(published.WNIDS)
    assert names("flowers102", "label")[0] == "pink primrose"
    cifar = names("cifar100 binary", "label")
    assert (cifar[0], cifar[8], cifar[99]) == ("apple", "bicycle", "worm")


def test_the_two_versions_of_cifar_are_one(specs) -> None:
    for name in ("cifar10", "cifar100"):
        a, b = (load_dataset(specs[f"{name} {version}"], "train") for version in ("binary", "python"))
        assert list(a.ids) == list(b.ids)
        assert all(torch.equal(a[i].image, b[i].image) and a[i].targets == b[i].targets for i in range(len(a)))


def test_eigens_crop_and_the_valid_range_are_void_in_test_only(specs) -> None:
    text = specs["nyu_depth_v2"]
    cropped = load_dataset(text, "test")[0].targets["depth"][0]
    whole = load_dataset(f"{text}(crop=none)", "test")[0].targets["depth"][0]
    assert cropped[:45].max() == cropped[471:].max() == cropped[:, :41].max() == cropped[:, 601:].max() == 0
    assert torch.equal(cropped[45:471, 41:601], whole[45:471, 41:601])
    assert (whole == 0).sum() == 3, "10.5 m, half a millimetre and nothing"
    assert (load_dataset(text, "train")[0].targets["depth"] == 0).sum() == 3
    raw = load_dataset(f"{text}(depth=raw)", "train")[0].targets["depth"][0]
    assert raw[70, 110] == 0


def test_without_a_folder_brittle_data_is_where_it_is_looked_for(specs, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("BRITTLE_DATA", str(tmp_path))
    with pytest.raises(MissingError, match="stl10: no folder"):
        load_dataset("stl10")
    (tmp_path / "stl10").symlink_to(specs["stl10"].partition(":")[2])
    assert len(load_dataset("stl10")) == 10
    monkeypatch.delenv("BRITTLE_DATA")
    with pytest.raises(MissingError, match="write stl10:DIR"):
        load_dataset("stl10")


@pytest.mark.parametrize("name", [name for name in components.names("datasets") if name not in ("scenes",)])
def test_what_is_missing_is_said_in_one_line(name, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("BRITTLE_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for argument in (str(tmp_path), str(tmp_path / "absent"), "nobody/nothing"):
        with pytest.raises(BrittleError) as error:
            load_dataset(f"{name}:{argument}")
        assert isinstance(error.value, (MissingError, UsageError))
        assert "\n" not in str(error.value)
        assert argument in str(error.value)


@pytest.mark.parametrize("name", [name for name in CASES if name[-3:] not in ("47k", "hub", "50k")])
def test_a_run_ends_with_a_row(specs, name, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("BRITTLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(probe, "STANDARD", replace(probe.STANDARD, steps=4, rates=(1e-3,)))
    own = tmp_path / "own.py"  # cheap at any size
    own.write_text("from torch import nn\n\ndef mine():\n    return nn.Conv2d(3, 8, 8, stride=8)\n", encoding="utf8")
    encoder = f"py:{own}:mine(size=64)"
    results = running.run(
        [encoder], [specs[name]], attacks=["noise"], limit=2, output_dir=tmp_path / "run", checks="none"
    )
    assert len(results) == 2
    for result in results:
        assert result.failed is None
        assert np.isfinite(result.metrics[result.task["headline"]])
        assert result.made_by["train_images"] == len(load_dataset(specs[name], "train"))
