"""Data that make no sense are refused by the command line before any work starts, in one line that names the image and
what to do; and odd ones that do make sense are measured."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import published
import pytest
import torch
from PIL import Image

from brittle.attacks.parts.image_store import ImageStore
from brittle.planning.identity import dataset_of
from brittle.results.store import Store, read_run
from brittle.types import as_float

Run = Callable[..., tuple[int, str, str]]
COMMON = ("-e", "pixels(size=8)", "-a", "pgd(steps=1)", "--limit", "4", "--device", "cpu")


def _first(folder: Path) -> Path:
    return min(path for path in folder.rglob("*") if path.is_file())


def _mask_of_another_size(root: Path, rows: int, columns: int) -> tuple[str, str]:
    text = published.folder_masks(root)
    mask = published.values(0, 1, None)
    mask = np.pad(mask, ((0, max(rows, 0)), (0, max(columns, 0))))[: 32 + rows, : 48 + columns]
    published.mask(_first(root / "annotations/test"), mask)
    return f"{text}(classes=3)", f"images/test/a/0.jpg: image and mask are 32x48 and {32 + rows}x{48 + columns}; save"


def _image_that_is_turned(root: Path) -> tuple[str, str]:
    """Its EXIF data turn the image, and nobody turns the mask."""
    text, exif, path = published.folder_masks(root), Image.Exif(), root / "images/test/a/0.jpg"
    exif[0x0112] = 6
    with Image.open(path) as image:
        image.load()
    image.save(path, exif=exif)
    return f"{text}(classes=3)", "images/test/a/0.jpg: image and mask are 48x32 and 32x48; save them at one size (EXIF"


def _mask_of_no_class(root: Path, value: int) -> tuple[str, str]:
    text = published.folder_masks(root)
    mask = published.values(0, 1, None).astype(np.uint16)
    mask[-1, -1] = value
    published.mask(_first(root / "annotations/test"), mask)
    return f"{text}(classes=3)", f"0.jpg: mask {value} is none of the 3 classes (0 to 2); correct it there"


def _label_of_no_class(root: Path, value: int) -> tuple[str, str]:
    for split, last in (("train", 1), ("test", value)):
        columns = {"image": published.hub_images(4), "label": [0, 1, 0, last]}
        published.parquet(root / f"{split}.parquet", columns, {"label": ["a", "b"]})
    return f"hf:{root}", f"test-0000003: label {value} is none of the 2 classes; "


def _no_image(root: Path) -> tuple[str, str]:
    for split in ("train", "val", "test"):
        (root / split / "a").mkdir(parents=True)
    return f"folder:{root}", f"{root}: no images"


CASES = {
    **{
        f"F07 {rows:+d} rows {columns:+d} columns": lambda root, by=(rows, columns): _mask_of_another_size(root, *by)
        for rows, columns in ((1, 0), (-1, 0), (0, 1), (0, -1))
    },
    "F07 turned": _image_that_is_turned,
    **{f"F08 mask {value}": lambda root, value=value: _mask_of_no_class(root, value) for value in (3, 254, 65535)},
    **{f"F08 label {value}": lambda root, value=value: _label_of_no_class(root, value) for value in (2, -1, 65535)},
    "F11 no image": _no_image,
}


@pytest.mark.fault("F07", "F08", "F11")
@pytest.mark.parametrize("case", CASES)
def test_data_that_make_no_sense_are_one_line_and_exit_2(tmp_path: Path, brittle: Run, case: str) -> None:
    text, said = CASES[case](tmp_path / "data")
    code, _, err = brittle("run", *COMMON, "-d", text, "--output-dir", tmp_path / "run")
    lines = [line for line in err.splitlines() if line.startswith("brittle: ")]
    assert (code, len(lines)) == (2, 1), err
    assert said in lines[0]
    for folder in ("results", "failed", "samples", "adversarial"):
        assert not list((tmp_path / "run").glob(f"{folder}/*")), "work was begun"


def _classes(root: Path, count: int) -> str:
    for split in ("train", "val", "test"):
        for i in range(4):
            published.image(root / split / "abcd"[i % count] / f"{i}.png", i, 16, 16)
    return f"folder:{root}"


@pytest.mark.fault("F12")
@pytest.mark.parametrize(("classes", "objective"), [(1, "dlr"), (2, "dlr"), (3, "dlr(rank=1)")])
def test_an_objective_that_needs_more_classes_is_refused(
    tmp_path: Path, brittle: Run, classes: int, objective: str
) -> None:
    text, needed = _classes(tmp_path / "data", classes), 4 if "rank" in objective else 3
    arguments = ("-e", "pixels(size=8)", "-a", f"worst(attacks=[pgd, 'apgd(objective={objective})'])", "-d", text)
    code, _, err = brittle("run", *arguments, "--output-dir", tmp_path / "run")
    assert code == 2
    assert f"needs {needed} classes, {text} has {classes}; take another objective" in err.splitlines()[-1]
    assert not list((tmp_path / "run").glob("results/*"))


@pytest.mark.fault("F11", "F12")
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_with_few_classes_an_ensemble_aims_at_fewer_and_that_is_said(
    tmp_path: Path, brittle: Run, classes: int
) -> None:
    """Of four images, far fewer than a batch."""
    text = _classes(tmp_path / "data", classes)
    arguments = ("-e", "pixels(size=8)", "-a", "autoattack(steps=2, queries=2)", "-d", text, "--batch-size", "64")
    code, _, err = brittle("run", *arguments, "--output-dir", tmp_path / "run")
    assert code == 0, err
    _, attacked = read_run(tmp_path / "run")
    finding = next(finding for finding in attacked.findings if finding.name == "classes")
    assert finding.verdict == ("fail" if classes == 1 else "warn")
    assert ("only one class" if classes == 1 else f"{classes} classes, dlr needs 4") in finding.why
    assert attacked.images == 4


@pytest.mark.fault("F10")
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("void", [1, 4])
def test_masks_that_are_all_void(tmp_path: Path, brittle: Run, void: int) -> None:
    """One of four counts for nothing and its image stays clean; where all are, there is nothing to score."""
    text = published.folder_masks(tmp_path / "data")
    masks = sorted((tmp_path / "data/annotations/test").rglob("*.png"))
    for path in masks[:void]:
        published.mask(path, np.full((32, 48), 255, np.uint8))
    arguments = ("-e", "pixels(size=32)", "-d", f"{text}(classes=3)", "-t", "segmentation", "-a", "pgd(steps=2)")
    code, _, err = brittle("run", *arguments, "--keep-adversarial", "--output-dir", tmp_path / "run")
    if void == 4:
        assert code == 3
        assert err.count("nonfinite: no valid pixel or image to score for segmentation; look at the data set's") == 2
        return
    assert code == 0, err
    _, attacked = read_run(tmp_path / "run")
    assert all(np.isfinite(value) for value in attacked.metrics.values())
    data = dataset_of(attacked.cell.dataset, "test")
    kept = ImageStore(Store(tmp_path / "run").images(attacked.id)).get(list(data.ids))
    assert kept is not None
    whole = torch.stack([as_float(data[place].image) for place in range(4)])
    same = (kept["images"] == whole).flatten(1).all(1)
    assert same.tolist() == [True, False, False, False]


@pytest.mark.fault("F13", "F14")
@pytest.mark.usefixtures("quick")
def test_images_smaller_than_a_patch_and_odd_ones_go_through_a_run(tmp_path: Path, brittle: Run) -> None:
    """By the stated rule: labels go with the centre square at the encoder's size, masks keep the image's shape, and
    the encoder pads what is no multiple of its patch."""
    sizes = [(1, 1), (5, 200), (225, 230), (16, 16)]
    for split in ("train", "val", "test"):
        for i, (height, width) in enumerate(sizes):
            for folder in ("images", "annotations"):
                (tmp_path / f"data/{folder}/{split}").mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (width, height), (60 * i, 9, 90)).save(tmp_path / f"data/images/{split}/{i}.png")
            published.mask(tmp_path / f"data/annotations/{split}/{i}.png", np.full((height, width), i % 2, np.uint8))
    text = f"folder:{tmp_path}/data(classes=2)"
    arguments = ("-e", "embedded:random", "-d", text, "-t", "segmentation", "-a", "pgd(steps=1)")
    code, _, err = brittle("run", *arguments, "--output-dir", tmp_path / "run")
    assert code == 0, err
    for result in read_run(tmp_path / "run"):
        assert result.images == 4
        assert all(np.isfinite(value) for value in result.metrics.values())
