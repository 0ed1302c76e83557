"""What the heads of a plan take, told before it starts, and features that make room for others."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.core.records import Cell
from brittle.evaluation import cache, disk, heads, measure
from brittle.evaluation.machine import Machine
from brittle.evaluation.measure import model_of
from brittle.planning.identity import resolve

DATA = "scenes(train=24, val=8, test=8, size=96)"


def cell_of(task: str, protocol: str = "standard", seed: int = 0, encoder: str = "embedded:random") -> Cell:
    return Cell(encoder, DATA, task, None, None, None, seed, None, protocol)


@pytest.fixture
def kept(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRITTLE_CACHE", str(tmp_path))
    return tmp_path / "features"


@pytest.mark.parametrize("task", ["classification", "segmentation", "depth"])
@pytest.mark.parametrize("protocol", ["standard", "paper"])
@pytest.mark.parametrize("little", [0, 2**28])
def test_features_take_what_was_told(
    kept: Path, task: str, protocol: str, little: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all features are little, all are kept."""
    monkeypatch.setattr(disk, "LITTLE", little)
    ((need,), _) = disk.needs_of([cell_of(task, protocol)], "cpu")
    model_of(resolve(cell_of(task, protocol)), Machine())
    size = sum(path.stat().st_size for path in kept.glob("*/*.safetensors"))
    parts = 1 if little else {"classification": 0, "segmentation": 1, "depth": 1}[task]
    values = 32 * 192 * (parts * 64) * 2  # 24 + 8 images, D 192, 8x8 cells, two bytes
    pooled = 32 * 192 * 2
    assert need.size == (values or pooled)
    assert need.size <= size <= need.size + pooled + 20_000  # of headers
    assert need.images == 24


@pytest.mark.parametrize("little", [0, 2**28])
def test_features_that_two_heads_read_count_once(little: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "LITTLE", little)
    (one,), _ = disk.needs_of([cell_of("segmentation")], "cpu")
    several = [cell_of("segmentation", seed=seed) for seed in (0, 1)] + [cell_of("classification")]
    needs, unknown = disk.needs_of(several, "cpu")
    assert [need.size for need in needs[:2]] == [one.size, 0]
    assert len(needs) == 3
    assert needs[2].size == (one.size if little else 32 * 192 * 2), "windows might have made others"
    assert not unknown
    assert disk.said(needs).startswith("3 heads, at most ")


def test_what_cannot_be_told_is_said_once_for_each_reason(quick: None, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"no weights")
    cells = [cell_of(task, encoder=f"file:{broken}") for task in ("depth", "segmentation")]
    few = cell_of("classification(head=ms)", encoder="pixels(size=16)")
    needs, unknown = disk.needs_of([cell_of("classification"), *cells, few], "cpu")
    assert len(needs) == 1
    assert [line.partition(" on scenes(")[0] for line in unknown] == [f"file:{broken}", few.encoder]
    assert unknown[1].endswith("has 0 layers; this head reads 4, take head=linear")
    line = disk.said(needs, unknown)
    assert line.startswith("1 head, at most ")
    assert line.endswith(f"; without {unknown[0]}; without {unknown[1]}")
    assert "\n" not in line


def test_a_head_on_four_layers_takes_four_times_the_features() -> None:
    ((one,), _), ((four,), _) = (disk.needs_of([cell_of(f"segmentation{head}")], "cpu") for head in ("", "(head=ms)"))
    assert four.size == 4 * one.size


def test_steps_are_those_of_the_recipe() -> None:
    needs, _ = disk.needs_of([cell_of(task, "paper") for task in ("classification", "segmentation", "depth")], "cpu")
    assert [need.steps for need in needs] == [1, 50 * 24 // 16, 20 * 24 // 128]


@pytest.mark.parametrize(("kept_gb", "left"), [("1", 3), ("0", 0), (str(2.5 * 4000 / 1e9), 2)])
def test_what_was_used_longest_ago_makes_room(
    kept: Path, monkeypatch: pytest.MonkeyPatch, kept_gb: str, left: int
) -> None:
    monkeypatch.setenv("BRITTLE_FEATURES_GB", kept_gb)

    def made(number: int) -> torch.Tensor:
        tensors = {"values": torch.full((960,), float(number))}
        return cache.get_or_make("features", {"number": number}, lambda: tensors)["values"]

    for number in range(3):
        made(number)
    for age, path in enumerate(sorted(kept.glob("*/*.safetensors"), key=lambda path: path.stat().st_mtime_ns)):
        os.utime(path, (age, age))
    first = made(0)  # used last now
    held = [cache.get_or_make("heads", {"number": 0}, lambda: {"values": first})]
    cache.trim()
    assert len(list(kept.glob("*/*.safetensors"))) == left
    if left == 2:
        names = {name for name in range(3) if cache._stored(_path(name)) is not None}
        assert names == {0, 2}
    assert made(1).tolist() == [1.0] * 960  # made again
    assert held[0]["values"].tolist() == [0.0] * 960


def _path(number: int) -> Path:
    name = files.sha256(json.dumps({"kind": "features", "number": number}, sort_keys=True).encode())
    return files.cache() / "features" / name[:2] / f"{name}.safetensors"


def head_of(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """A head made anew."""
    monkeypatch.setattr(heads, "get_or_make", _heads_not_kept)
    return model_of(resolve(cell), Machine())[0].head.state_dict()


def _heads_not_kept(folder, key, make, *, wait=True):
    made = {name: value.clone() for name, value in make().items()} if folder == "heads" else None
    return made or cache.get_or_make(folder, key, make, wait=wait)


@pytest.mark.parametrize(
    ("cell", "gigabytes", "files_of_features"),
    [
        (cell_of("segmentation"), "0", 0),
        (cell_of("depth(head=ms)", "standard(views=[flips, crops])"), "0", 0),
        (cell_of("classification", encoder="pixels(size=16)"), "0", 0),
        (cell_of("segmentation", seed=1), "0", 0),
        (cell_of("segmentation"), "0.0002", 2),  # the smaller split alone has room: its grids and what is pooled
    ],
    ids=["whole", "views", "pooled", "windows", "one split"],
)
def test_a_head_is_the_same_where_features_are_computed_at_each_pass(
    kept: Path, monkeypatch: pytest.MonkeyPatch, cell: Cell, gigabytes: str, files_of_features: int
) -> None:
    made = measure.protocol_on
    if cell.seed:  # windows that are smaller than the images
        monkeypatch.setattr(measure, "protocol_on", lambda *args: replace(made(*args), window=32, stride=32))
    first = head_of(cell, monkeypatch)
    assert list(kept.glob("*/*.safetensors"))
    shutil.rmtree(kept)
    monkeypatch.setenv("BRITTLE_FEATURES_GB", gigabytes)
    monkeypatch.setattr(heads, "trim", lambda: None)  # what lies there now was kept on the way
    second = head_of(cell, monkeypatch)
    assert len(list(kept.glob("*/*.safetensors"))) == files_of_features
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=2e-3, atol=2e-4)  # batches of other images round otherwise


@pytest.mark.fault("F03")
def test_a_full_disk_is_no_reason_to_fail(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = head_of(cell_of("segmentation"), monkeypatch)
    shutil.rmtree(kept)
    monkeypatch.setattr(cache, "free", lambda: cache.SPARE)
    second = head_of(cell_of("segmentation"), monkeypatch)
    assert not list(kept.glob("*/*.safetensors"))
    assert all(torch.allclose(second[name], first[name], rtol=2e-3, atol=2e-4) for name in first)
    monkeypatch.setattr(disk, "room", cache.room)
    line = disk.said(disk.needs_of([cell_of("segmentation")], "cpu")[0])
    assert line.endswith("have no room and are computed at each pass")


def test_features_make_room_for_others_while_a_head_is_fitted(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of another head go where the disk is full."""
    other = [cache.get_or_make("features", {"of": n}, lambda: {"values": torch.ones(10_000)}) for n in range(3)]
    for age, path in enumerate(sorted(kept.glob("*/*.safetensors"))):
        os.utime(path, (age, age))
    disk_size = 10 * 40_000

    def free() -> int:
        return disk_size + cache.SPARE - sum(path.stat().st_size for path in kept.glob("*/*.safetensors"))

    monkeypatch.setattr(cache, "free", free)
    left = free() - cache.SPARE
    cache.make_room(left)
    assert len(list(kept.glob("*/*.safetensors"))) == len(other), "there is room"
    cache.make_room(left + 50_000)
    assert [path.stat().st_mtime for path in kept.glob("*/*.safetensors")] == [2], "the one used last"
    assert cache.room() == pytest.approx(disk_size)


@pytest.mark.parametrize("text", ["", "many", "-1", "nan"])
def test_a_limit_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("BRITTLE_FEATURES_GB", text)
    with pytest.raises(UsageError, match="^BRITTLE_FEATURES_GB is .*give a number of gigabytes"):
        cache.most()


def test_a_dry_run_says_it(brittle, kept: Path) -> None:
    code, _, err = brittle("run", "-e", "pixels(size=16)", "-d", DATA, "--dry-run")
    assert code == 0
    assert "3 heads, at most " in err
    assert " of which at most 100 GB are kept" in err


def test_what_another_process_removes_at_once_is_not_lost(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its room may be used up between the write and the first look at it."""
    monkeypatch.setenv("BRITTLE_FEATURES_GB", "0")
    written = files.write_whole

    def write(path: Path, data: bytes) -> None:
        written(path, data)
        cache.trim()

    monkeypatch.setattr(files, "write_whole", write)
    made = cache.get_or_make("features", {"number": 0}, lambda: {"values": torch.ones(3)})
    assert made["values"].tolist() == [1.0] * 3
    assert not list(kept.glob("*/*.safetensors"))
