"""A run folder of the version before the package was rebuilt, on depth, is read and reported as it is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import brittle as package
from brittle.reports.parts import layout, transfer
from brittle.results.store import Store

OLDER = Path(__file__).parent / "older_run"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLDER, tmp_path / "run"))


def test_it_is_read_and_reported(folder: Path) -> None:
    results = package.read_run(folder)
    assert len(results) == 9
    assert all(result.sees == "" for result in results), "which was not written down then"
    attacked = {transfer.sees(result) for result in results if result.cell.attack}
    assert attacked == {"head", "encoder", "nothing"}
    ratios = transfer.transfer_ratios(layout.layout(results)[1])
    assert len(ratios) == 1
    assert 0 <= float(ratios[0]) <= 1.5
    assert set(Store(folder).samples(results[0].id)) >= {"rmse", "ids"}


def test_its_limit_left_other_images_so_that_it_is_measured_again(
    folder: Path, brittle: Callable[..., tuple[int, str, str]]
) -> None:
    before = {path.name for path in (folder / "results").iterdir()}
    code, _, err = brittle(
        "run", folder / "plan.yaml", "--device", "cpu", "--precision", "fp32", "--output-dir", folder
    )
    assert code == 0
    assert "9 cells, 0 done before, 9 to do" in err
    assert "9 results of other weights, data or versions are left out" in err
    results = package.read_run(folder)
    assert len(results) == 9
    assert not before & {f"{result.id}.json" for result in results}
