"""The versions of NYU Depth v2: units, splits by scenes, and folders as people have them."""

import shutil
from pathlib import Path

import numpy as np
import published
import pytest
import torch
from PIL import Image

from brittle.api import load_dataset
from brittle.core.errors import BrittleError, CellError, MissingError, UsageError
from brittle.datasets import nyu_depth_v2 as nyu

VERSIONS = {"24k": published.nyu_24k, "47k": published.nyu_47k, "47k hub": published.nyu_hub, "50k": published.nyu_50k}
LISTED = {"24k": "train_test_inputs/nyudepthv2_test_files_with_gt.txt", "50k": "nyu_data/data/nyu2_test.csv"}
each = pytest.mark.parametrize("name", VERSIONS)


@each
def test_depth_is_metres_in_both_splits(name: str, tmp_path: Path) -> None:
    text = VERSIONS[name](tmp_path)
    step = 5 / 255 if name == "50k" else 1e-6  # half of one
    for split in ("train", "val"):
        data = load_dataset(text, split)
        for i in range(len(data)):
            depth = data[i].targets["depth"]
            wanted = torch.from_numpy(published.nyu_metres())[None]
            valid = (wanted > 0) & (wanted <= 10)
            assert depth.shape == (1, 480, 640)
            assert depth.dtype == torch.float32
            assert (depth - wanted)[valid].abs().max() <= step
            assert depth[0, 200, 300] == (10 if name == "50k" else 0), "8 bits end at 10 m, which is valid"
            assert depth[0, 200, 301] == 0
    test = load_dataset(f"{text}(crop=none)", "test")[0].targets["depth"]
    assert test[0, 0, 0] == 3
    assert (test == 0).sum() == 2, "10.5 m and nothing"
    assert torch.equal(test[:, 60:90, 100:120], torch.full((1, 30, 20), 1.5))
    assert (load_dataset(text, "test")[0].targets["depth"] > 0).sum() == 426 * 560 - 2


@pytest.mark.parametrize("name", ["24k", "47k", "50k"])
def test_parts_of_a_scene_are_held_out_together(name: str, tmp_path: Path) -> None:
    text = VERSIONS[name](tmp_path)
    parts = {split: load_dataset(text, split) for split in ("train", "val")}
    scenes = {split: {i.split("/")[-2].removesuffix("_out") for i in data.ids} for split, data in parts.items()}
    assert not scenes["train"] & scenes["val"]
    assert scenes["train"] | scenes["val"] == set(published.SCENES)
    assert any({"living_room_0010a", "living_room_0010b"} <= held for held in scenes.values())
    assert sum(map(len, parts.values())) == 12


def test_several_versions_are_told_apart_and_either_can_be_had(tmp_path: Path) -> None:
    text = published.nyu_24k(tmp_path)
    alone = load_dataset(text, "train").fingerprint
    published.nyu_depth_v2(tmp_path)
    with pytest.raises(UsageError, match="holds labelled and 24k; say which with frames=labelled"):
        load_dataset(text)
    assert load_dataset(f"{text}(frames=24k)", "train").fingerprint == alone
    assert load_dataset(f"{text}(frames=labelled)", "test").ids[0] == "nyu-0012"
    with pytest.raises(MissingError, match="50k"):
        load_dataset(f"{text}(frames=50k)")
    with pytest.raises(UsageError, match="choice of the labelled pairs"):
        load_dataset(f"{text}(frames=24k, depth=raw)")
    assert load_dataset(f"{text}(frames=labelled)", "train").fingerprint != alone


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("lead", ["", "/", "./", "/home/someone/nyu/", "C:\\nyu\\", "data/nyu_depth_v2/sync/"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_leads_to_listed_files_is_no_part_of_them(name: str, lead: str, end: str, tmp_path: Path) -> None:
    text, path = VERSIONS[name](tmp_path), tmp_path / LISTED[name]
    known = load_dataset(text)
    cut = "," if name == "50k" else " "
    pairs = [line.split(cut) for line in path.read_text().splitlines()]
    lines = [cut.join([lead + part.lstrip("/") for part in pair[:2]] + pair[2:]) for pair in pairs]
    text_of_list = end.join(["", *(line.replace("/", "\\") if "\\" in lead else line for line in lines), lines[0], ""])
    path.write_bytes(text_of_list.encode("utf-16" if lead == "./" else "utf-8"))
    again = load_dataset(text)
    assert list(again.ids) == list(known.ids), "a line that comes twice names one frame"
    assert again.fingerprint == known.fingerprint


@pytest.mark.parametrize("name", LISTED)
def test_odd_files_change_nothing(name: str, tmp_path: Path) -> None:
    text = VERSIONS[name](tmp_path)
    known = load_dataset(text)
    first = next(iter(known.paths()))
    (first.parent / f"._{first.name}").write_bytes(b"resource fork")
    (first.parent / "Thumbs.db").write_bytes(b"")
    (first.parent / "loop").symlink_to(first.parent)
    (first.parent / "broken.jpg").symlink_to("nowhere")
    first.rename(first.with_suffix(first.suffix.upper()))
    again = load_dataset(text)
    assert list(again.ids) == list(known.ids)
    assert again.fingerprint == known.fingerprint
    assert len([again[i] for i in range(len(again))]) == 4
    moved = tmp_path / "elsewhere"
    shutil.move(first.parent, moved)
    first.parent.symlink_to(moved)
    assert load_dataset(text).fingerprint == known.fingerprint


@pytest.mark.parametrize("name", LISTED)
def test_a_missing_partner_is_one_line(name: str, tmp_path: Path) -> None:
    text = VERSIONS[name](tmp_path)
    depth = [path for path in load_dataset(text).paths() if "depth" in path.name][1]
    depth.rename(depth.with_suffix(".tif"))
    with pytest.raises(MissingError, match=f"1 of 8 files are not there, the first .*{depth.name}"):
        load_dataset(text)
    path = tmp_path / LISTED[name]
    path.write_text(path.read_text() + "a line of one word\n".replace(" ", "_"))
    with pytest.raises(UsageError, match="a_line_of_one_word' names no image and its depth"):
        load_dataset(text)
    path.write_text("/x/a.jpg,/x/a.png\n" if name == "50k" else "/x/a.jpg /x/a.png 1\n")
    with pytest.raises(MissingError, match=r"none of its 1 images is in .*, such as /x/a\.jpg"):
        load_dataset(text)
    path.unlink()
    with pytest.raises(MissingError, match=f"no file .*{path.name}"):
        load_dataset(text)
    path.write_bytes(b"\0\1\2")
    with pytest.raises(UsageError, match="is not text"):
        load_dataset(text)


@each
def test_broken_bytes_fail_in_one_line_that_names_the_frame(name: str, tmp_path: Path) -> None:
    text = VERSIONS[name](tmp_path)
    path = list(load_dataset(text).paths())[-1]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(BrittleError, match=path.name) as error:
        load_dataset(text)[3]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "frame", [{"rgb": (3, 4, 6)}, {"rgb": (3, 4, 6), "depth": (6, 4)}, {"rgb": (4, 6, 3), "depth": (4, 6)}]
)
def test_a_frame_of_other_shapes_is_named(frame: dict[str, tuple[int, ...]], tmp_path: Path) -> None:
    import h5py

    text = published.nyu_47k(tmp_path)
    path = tmp_path / "nyudepthv2/val/official/00001.h5"
    with h5py.File(path, "w") as file:
        for key, shape in frame.items():
            file[key] = np.zeros(shape, np.uint8 if key == "rgb" else np.float32)
    with pytest.raises(CellError, match=r"00001\.h5"):
        load_dataset(text)[0]


def test_hidden_frames_are_passed_over_and_counted(tmp_path: Path) -> None:
    text = published.nyu_47k(tmp_path)
    folder = tmp_path / "nyudepthv2/val/official"
    (folder / "._00001.h5").write_bytes(b"resource fork")
    (folder / "00009.h5").rename(folder / "00009.H5")
    (folder / "notes.txt").write_text("x")
    data = load_dataset(text)
    assert len(data) == 4
    assert sum(data.passed_over.values()) == 2
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(UsageError, match="the test split has no images"):
        load_dataset(text)


def test_a_frame_without_depth_is_void_and_the_others_count(tmp_path: Path) -> None:
    text = published.nyu_50k(tmp_path)
    for part in ("train", "val", "test"):
        depth = [path for path in load_dataset(text, part).paths() if path.suffix == ".png"][-1]
        mode = Image.open(depth).mode
        Image.fromarray(np.zeros((480, 640), np.uint8 if mode == "L" else np.uint16)).save(depth)
        data = load_dataset(text, part)
        assert data[len(data) - 1].targets["depth"].max() == 0
        assert data[0].targets["depth"].max() == (3 if part == "test" else 10)


def test_every_version_is_in_the_words_of_info() -> None:
    for name in nyu.VERSIONS:
        assert all(name in words for words in (nyu.TRAITS.source, nyu.TRAITS.layout, nyu.TRAITS.protocol)), name
