"""A run folder of the version before the package was rebuilt, on depth, is read, reported and resumed as it is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import brittle as package
from brittle.planning import identity
from brittle.reports.parts import layout, transfer
from brittle.results.store import Store

OLDER = Path(__file__).parent / "older_run"
MEASURED_BY = 3  # MEASURE_VERSION of that folder: a later one measures again, and that is right


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


def test_it_is_resumed(folder: Path, brittle: Callable[..., tuple[int, str, str]]) -> None:
    if identity.MEASURE_VERSION != MEASURED_BY:
        pytest.skip("numbers are measured in another way since")
    victim = next((folder / "results").glob("*.json"))
    before = {path.name: json.loads(path.read_text(encoding="utf8")) for path in (folder / "results").iterdir()}
    victim.unlink()
    code, _, err = brittle(
        "run", folder / "plan.yaml", "--device", "cpu", "--precision", "fp32", "--output-dir", folder
    )
    assert code == 0
    assert "9 cells, 8 done before, 1 to do" in err
    after = {path.name: json.loads(path.read_text(encoding="utf8")) for path in (folder / "results").iterdir()}
    assert after.keys() == before.keys()
    new, old = after[victim.name], before[victim.name]
    assert {key: new[key] for key in ("id", "cell", "image_ids_sha256")} == {
        key: old[key] for key in ("id", "cell", "image_ids_sha256")
    }
    assert new["metrics"] == pytest.approx(old["metrics"], rel=0.05)  # on another processor
