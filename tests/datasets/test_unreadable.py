"""Images that cannot be read: a failure by default; on request left out, counted, and then the data set is another
one."""

from collections.abc import Callable
from pathlib import Path

import published
import pytest
import torch

from brittle.api import load_dataset, read_run
from brittle.core.errors import UsageError
from brittle.reports.parts import wording

DAMAGE = {"cut short": lambda data: data[: len(data) // 2], "empty": lambda _: b"", "text": lambda _: b"hello"}


def labelled(root: Path) -> str:
    for part, count in (("train", 8), ("val", 3), ("test", 6)):
        for i in range(count):
            published.image(root / part / "ab"[i % 2] / f"{i}.png", i % 2)
    return f"folder:{root}"


def damage(path: Path, how: str) -> None:
    path.write_bytes(DAMAGE[how](path.read_bytes()))


@pytest.mark.fault("F06")
@pytest.mark.parametrize("how", DAMAGE)
def test_what_is_left_is_what_it_was(tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = labelled(tmp_path)
    whole = load_dataset(text)
    kept = [0, 1, 3, 4]
    for index in {*range(6)} - {*kept}:
        damage(tmp_path / whole.ids[index], how)
    data = load_dataset(f"{text}(skip_unreadable=true)")
    assert list(data.ids) == [whole.ids[i] for i in kept]
    assert len(data) == 4
    for place, index in enumerate(kept):
        assert torch.equal(data[place].image, whole[index].image)
        assert torch.equal(data[place].targets["label"], whole[index].targets["label"])
    said = capsys.readouterr().err
    assert "2 of 6 images left out" in said
    assert whole.ids[2] in said


@pytest.mark.fault("F06")
def test_it_is_another_data_set_even_where_nothing_is_left_out(tmp_path: Path) -> None:
    text = labelled(tmp_path)
    data, skipping = load_dataset(text), load_dataset(f"{text}(skip_unreadable=true)")
    assert list(data.ids) == list(skipping.ids)
    assert data.fingerprint != skipping.fingerprint
    before = skipping.fingerprint
    damage(tmp_path / data.ids[0], "empty")
    assert load_dataset(f"{text}(skip_unreadable=true)").fingerprint != before


@pytest.mark.fault("F06")
def test_a_run_fails_or_skips_and_counts(
    tmp_path: Path, quick: None, brittle: Callable[..., tuple[int, str, str]]
) -> None:
    text = labelled(tmp_path / "images")
    whole = load_dataset(text).ids
    for name in (whole[0], whole[5], "train/a/0.png"):
        damage(tmp_path / "images" / name, "cut short")
    common = ("-e", "pixels(size=8)", "-a", "noise", "--device", "cpu", "--output-dir", tmp_path / "run")
    code, _, err = brittle("run", "-d", text, *common)
    assert code == 3
    assert "0.png: cannot be read" in err
    code, out, err = brittle("run", "-d", f"{text}(skip_unreadable=true)", *common, "--json")
    assert code == 0, err
    results = [result for result in read_run(tmp_path / "run") if result.failed is None]
    assert [result.images for result in results] == [4, 4]
    assert [result.made_by["left_out"] for result in results] == [2, 2]
    assert f"2 images of folder:{tmp_path}/images that cannot be read left out" in wording.caption(results)
    assert '"left_out": 2' in out
    assert "test: 2 of 6 images left out" in err
    assert "train: 1 of 8 images left out" in err


def test_masks_count_as_well(tmp_path: Path) -> None:
    text = published.folder_masks(tmp_path)
    damage(tmp_path / "annotations/test/a/1.png", "text")
    damage(tmp_path / "images/test/a/2.jpg", "empty")
    data = load_dataset(f"{text}(skip_unreadable=true)")
    assert list(data.ids) == ["images/test/a/0.jpg", "images/test/a/3.jpg"]
    assert data.left_out == 2
    assert len(data.classes["mask"]) == 3


def test_the_hubs_images_as_well(tmp_path: Path) -> None:
    for split in ("train", "test"):
        images = [*published.hub_images(3), {"bytes": b"hello", "path": "x.png"}]
        published.parquet(tmp_path / f"data/{split}-00000-of-00001.parquet", {"image": images, "label": [0, 1, 0, 1]})
    data = load_dataset(f"hf:{tmp_path}(skip_unreadable=true)")
    assert (len(data), data.left_out) == (3, 1)


def test_nothing_left_is_refused(tmp_path: Path) -> None:
    text = labelled(tmp_path)
    for path in (tmp_path / "test").rglob("*.png"):
        damage(path, "empty")
    with pytest.raises(UsageError, match="none of 6 images can be read"):
        len(load_dataset(f"{text}(skip_unreadable=true)"))
