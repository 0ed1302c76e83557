"""Every target that will be used is looked at before any work: a wrong one is exit 2, an odd one is said."""

from pathlib import Path

import numpy as np
import published
import pytest

from brittle.api import load_dataset, running
from brittle.core.errors import UsageError
from brittle.core.records import Result


def _run(text: str, where: Path, task: str) -> list[Result]:
    return running.run(["pixels(size=8)"], [text], tasks=[task], attacks=[], output_dir=where, checks="none")


@pytest.mark.fault("F07", "F08")
@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (published.values(0, 7, None), "mask 7 is none of the 3 classes"),
        (published.values(0, 1, None)[:-1], "image and mask are 32x48 and 31x48"),
    ],
)
def test_a_wrong_mask_of_any_split_is_refused_before_any_work(
    tmp_path: Path, split: str, mask: np.ndarray, said: str
) -> None:
    text = published.folder_masks(tmp_path / "data") + "(classes=3)"
    place = next((tmp_path / "data/annotations" / split).rglob("*.png"))
    published.mask(place, mask)
    with pytest.raises(UsageError, match=said):
        _run(text, tmp_path / "out", "segmentation")
    assert not list((tmp_path / "out").rglob("failed/*.json"))


@pytest.mark.fault("F07")
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_depth_map_of_another_size_is_refused_before_any_work(tmp_path: Path, split: str) -> None:
    text = published.folder_depth(tmp_path / "data", ".npy")
    np.save(next((tmp_path / "data/depth" / split).rglob("*.npy")), published.metres()[:-1])
    with pytest.raises(UsageError, match="image and depth are 32x48 and 31x48"):
        _run(text, tmp_path / "out", "depth")


def test_depth_beyond_what_is_scored_is_said(tmp_path: Path) -> None:
    text = published.folder_depth(tmp_path / "data", ".npy")
    for path in (tmp_path / "data/depth").rglob("*.npy"):
        metres = np.full((32, 48), 20.0, np.float32)
        metres[:8] = 5
        np.save(path, metres)
    (result,) = _run(text, tmp_path / "out", "depth")
    assert ("target", "warn") in [(finding.name, finding.verdict) for finding in result.findings]
    assert result.findings[0].why.startswith("75.0% of the depth (5 to 20 m) is not scored; say depth(max_depth=20)")


def test_depth_of_which_nothing_is_scored_is_refused(tmp_path: Path) -> None:
    text = published.folder_depth(tmp_path / "data", ".npy")
    for path in (tmp_path / "data/depth").rglob("*.npy"):
        np.save(path, np.full((32, 48), 20.0, np.float32))
    with pytest.raises(UsageError, match=r"scores none of its depth, 20 to 20 m; say depth\(max_depth=20\)"):
        _run(text, tmp_path / "out", "depth")


def test_a_class_that_is_written_as_void_fails_the_check(tmp_path: Path) -> None:
    text = published.folder_masks(tmp_path / "data") + "(classes=2)"
    for path in (tmp_path / "data/annotations").rglob("*.png"):
        published.mask(path, published.values(0, 255, None))
    assert load_dataset(text).classes["mask"] == ["0", "1"]
    (result,) = _run(text, tmp_path / "out", "segmentation")
    assert ("target", "fail") in [(finding.name, finding.verdict) for finding in result.findings]
    assert "'1' of 2 classes occur in no split" in result.findings[0].why


def test_what_is_passed_over_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = published.folder_masks(tmp_path / "data") + "(classes=3)"
    next((tmp_path / "data/images/test").rglob("*.jpg")).with_name("notes.txt").write_text("x")
    _run(text, tmp_path / "out", "segmentation")
    assert "passed over: 1 .txt" in capsys.readouterr().err
