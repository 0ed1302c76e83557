"""Images in folders: the splits that are there, the split that is made, and what is refused."""

from pathlib import Path

import pytest
from PIL import Image

from brittle.core.errors import CellError, MissingError, UsageError
from brittle.datasets.folder import Folder, folder


def _fill(root: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (i % 256, 0, 0)).save(root / name)
    return root


def _splits(root: Path) -> dict[str, Folder]:
    return {split: folder(str(root), split) for split in ("train", "val", "test")}


def _check_partition(splits: dict[str, Folder], count: int) -> None:
    names = [name for data in splits.values() for name in data.ids]
    assert len(names) == len(set(names)) == count


def test_three_folders(tmp_path: Path) -> None:
    _fill(
        tmp_path,
        *[f"{split}/{name}/{i}.png" for split in ("train", "val", "test") for name in ("cat", "dog") for i in range(3)],
    )
    splits = _splits(tmp_path)
    _check_partition(splits, 18)
    for split, data in splits.items():
        assert data.classes == {"label": ["cat", "dog"]}
        assert all(name.startswith(f"{split}/") for name in data.ids)
        assert [int(data[i].targets["label"]) for i in range(6)] == [0, 0, 0, 1, 1, 1]
        assert data[0].image.shape == (3, 4, 4)


def test_two_folders_hold_out_a_tenth_and_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _fill(tmp_path, *[f"train/{name}/{i}.png" for name in "ab" for i in range(60)], "val/a/x.png", "val/b/y.png")
    splits = _splits(tmp_path)
    _check_partition(splits, 122)
    assert splits["test"].ids == ["val/a/x.png", "val/b/y.png"]
    assert 3 <= len(splits["val"]) <= 25
    said = capsys.readouterr().err
    assert "held out" in said
    assert str(len(splits["val"])) in said


def test_no_folders_are_split_by_name_and_stay_when_images_come(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _fill(tmp_path, *[f"{name}/{i}.png" for name in ("a", "b c") for i in range(60)])
    before = _splits(tmp_path)
    _check_partition(before, 120)
    assert 60 <= len(before["train"]) <= 100
    assert (
        f"train {len(before['train'])}, val {len(before['val'])}, test {len(before['test'])}" in capsys.readouterr().err
    )
    _fill(tmp_path, *[f"a/0{i}.png" for i in range(40)])
    after = _splits(tmp_path)
    _check_partition(after, 160)
    for split, data in before.items():
        assert set(data.ids) <= set(after[split].ids)


def test_order_is_by_name_and_other_files_are_passed_over(tmp_path: Path) -> None:
    _fill(tmp_path, "train/a/b.png", "train/a/a.PNG", "train/a/deep/c.jpg", "test/a/x.png", "val/a/x.png")
    (tmp_path / "train" / "a" / "notes.md").write_text("x")
    assert folder(str(tmp_path), "train").ids == ["train/a/a.PNG", "train/a/b.png", "train/a/deep/c.jpg"]


def test_fingerprint_follows_images(tmp_path: Path) -> None:
    _fill(tmp_path, "train/a/1.png", "val/a/1.png", "test/a/1.png", "test/a/2.png")
    before = folder(str(tmp_path), "test").fingerprint
    assert folder(str(tmp_path), "test").fingerprint == before
    Image.new("RGB", (5, 5)).save(tmp_path / "test" / "a" / "1.png")
    changed = folder(str(tmp_path), "test").fingerprint
    assert changed != before
    (tmp_path / "test" / "a" / "2.png").rename(tmp_path / "test" / "a" / "3.png")
    assert folder(str(tmp_path), "test").fingerprint not in (before, changed)


@pytest.mark.parametrize("made", [(), ("a",), ("train/a", "val/a"), ("train/a", "val/a", "test/a")])
def test_an_empty_folder_is_refused(tmp_path: Path, made: tuple[str, ...]) -> None:
    for name in made:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(UsageError, match="no images"):
        folder(str(tmp_path), "test")


@pytest.mark.parametrize("argument", ["", "nowhere"])
def test_a_missing_folder_is_missing(tmp_path: Path, argument: str) -> None:
    with pytest.raises(MissingError, match="no folder"):
        folder(str(tmp_path / argument) if argument else "", "test")


def test_a_class_only_in_test_is_refused(tmp_path: Path) -> None:
    _fill(tmp_path, "train/a/1.png", "val/a/1.png", "test/a/1.png", "test/zebra/1.png")
    with pytest.raises(UsageError, match="zebra.*no such class"):
        folder(str(tmp_path), "test")


def test_a_text_file_as_a_image_is_named(tmp_path: Path) -> None:
    _fill(tmp_path, "train/a/1.png", "val/a/1.png", "test/a/1.png")
    (tmp_path / "test" / "a" / "2.png").write_text("hello")
    data = folder(str(tmp_path), "test")
    assert data[0].image.shape == (3, 4, 4)
    with pytest.raises(CellError, match=r"2\.png"):
        data[1]
