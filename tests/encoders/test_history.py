"""A folder or a pattern of checkpoints: one row for each, in natural order."""

import pytest
from made import saved, vit

import brittle
from brittle.core.errors import MissingError, UsageError
from brittle.planning import plan, sweep


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    folder = tmp_path_factory.mktemp("history")
    for epoch in (10, 2, 1):
        saved(folder, f"deacl-ep={epoch}.ckpt", {"state_dict": vit(192, 16, 14, seed=epoch)})
    (folder / "log.txt").write_text("no checkpoint", encoding="utf8")
    return folder


def names(text: str) -> list[str]:
    return [one.rpartition("/")[2] for one in sweep.expanded(text, "encoders")]


def test_natural_order(history) -> None:
    wanted = [f"deacl-ep={epoch}.ckpt" for epoch in (1, 2, 10)]
    assert names(f"file:{history}") == wanted
    assert names(f"file:{history}/*.ckpt") == wanted
    assert names(f"file:{history}/deacl-ep=1*.ckpt(arch=dino_vitt16)") == [
        "deacl-ep=1.ckpt(arch=dino_vitt16)",
        "deacl-ep=10.ckpt(arch=dino_vitt16)",
    ]
    assert sweep.expanded("embedded:dino", "encoders") == ["embedded:dino"]


def test_digits_that_are_no_numbers_are_letters(tmp_path) -> None:
    for name in ("a1\u00b23.pth", "a2.pth", "a\u0663.pth", "a10.pth"):
        (tmp_path / name).write_bytes(b"x")
    assert names(f"file:{tmp_path}") == ["a1\u00b23.pth", "a2.pth", "a10.pth", "a\u0663.pth"]


def test_a_plan_has_a_row_for_each(history) -> None:
    made = plan.make(
        encoders=[f"file:{history}", f"file:{history}/deacl-ep=2.ckpt"],
        datasets=["scenes"],
        tasks=["classification"],
        attacks=["embed"],
    )
    cells, _ = sweep.cells_of(made)
    assert [cell.encoder.rpartition("=")[2] for cell in cells] == [
        "1.ckpt",
        "1.ckpt",
        "2.ckpt",
        "2.ckpt",
        "10.ckpt",
        "10.ckpt",
    ]


def test_a_run_measures_each(history, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("BRITTLE_CACHE", str(tmp_path / "cache"))
    results = brittle.run(
        [f"file:{history}/*.ckpt(size=32)"],
        ["scenes(train=8, val=8, test=4)"],
        ["classification"],
        attacks=["noise"],
        limit=2,
        output_dir=tmp_path / "run",
    )
    assert len(results) == 6
    assert not any(result.failed for result in results)
    assert len({result.made_by["weights"]["sha256"] for result in results}) == 3
    assert {"licence", "parameters", "sha256"} <= results[0].made_by["weights"].keys()


def test_one_encoder_is_one_file(history, tmp_path) -> None:
    with pytest.raises(UsageError, match="holds 3 checkpoints"):
        brittle.load_encoder(f"file:{history}")
    with pytest.raises(UsageError, match="file needs a path"):
        sweep.expanded("file", "encoders")
    with pytest.raises(MissingError, match="no checkpoint in"):
        sweep.expanded(f"file:{tmp_path}", "encoders")
    with pytest.raises(MissingError, match="no checkpoint in"):
        sweep.expanded(f"file:{tmp_path}/*.pth", "encoders")
