"""Plans: what a file may hold, which cells it stands for, and what a cell's identity depends on."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from brittle.core import budget, components
from brittle.core.errors import MissingError, UsageError
from brittle.core.records import Cell
from brittle.planning import identity, plan, sweep, warm_start
from brittle.planning.plan import Plan

Cells = Callable[..., Cell]


def _plan(tiny: str, encoder: str, **changes: object) -> Plan:
    return plan.make(**{"encoders": [encoder], "datasets": [tiny], **changes})


@pytest.mark.parametrize(
    ("text", "limit", "wanted"),
    [
        ("scenes", 63, "scenes(train=768, val=256)"),
        ("scenes(size=32)", 8, "scenes(train=768, val=256, size=32)"),
        ("scenes", 64, "scenes"),
        ("scenes", None, "scenes"),
        ("scenes(train=4096)", 8, "scenes"),
        ("scenes(val=16)", 8, "scenes(val=16)"),
    ],
)
def test_heads_of_a_small_run_have_less_to_fit(text: str, limit: int | None, wanted: str, encoder: str) -> None:
    cells, notes = sweep.cells_of(_plan(text, encoder, tasks=["representation"], attacks=["noise"], limit=limit))
    assert {cell.dataset for cell in cells} == {wanted}
    assert ["train=768, val=256" in note for note in notes if "test images are measured" in note] == (
        [True] if "768" in wanted else []
    )


def _read(folder: Path, text: str) -> Plan:
    path = folder / "p.yaml"
    path.write_text(text, encoding="utf8")
    return plan.read(str(path))


GOOD = "encoders: [pixels]\ndatasets: [scenes]\n"


@pytest.mark.threat("yaml")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + "encoders: [pixels]\n", "key 'encoders' stands twice"),
        ("encoders: &e [pixels]\ndatasets: *e\n", "aliases"),
        (GOOD + "atacks: [pgd]\n", "'atacks'; did you mean 'attacks'?"),
        ("- encoders\n", "keys and values"),
        ("just words", "keys and values"),
        ("", "keys and values"),
        ("encoders: []\ndatasets: [scenes]\n", "encoders is empty"),
        ("encoders: [pixels]\ndatasets: []\n", "datasets is empty"),
        (GOOD + "eps: []\n", "eps is empty"),
        (GOOD + "seeds: []\n", "seeds is empty"),
        ("encoders: pixels\ndatasets: [scenes]\n", "encoders"),
        ("datasets: [scenes]\n", "encoders"),
        (GOOD + "norm: l3\n", "norm"),
        (GOOD + "norm: l2\n", "l2 has no budget of its own; give eps"),
        (GOOD + "norm: l1\n", "l1 has no budget of its own; give eps, such as 12 for images of 32x32"),
        (GOOD + "limit: 0\n", "limit"),
        (GOOD + "seeds: [-1]\n", "seeds"),
        (GOOD + "protocol: other\n", "no protocol 'other'"),
        (GOOD + "checks: some\n", "checks"),
        ("encoders: [a\n", "no YAML"),
        (GOOD + "name: !!python/object/apply:os.getcwd []\n", "no YAML"),
        ("? [a, b]\n: c\n", ""),
        ("? {a: b}\n: c\n", ""),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        _read(tmp_path, text)
    assert words in str(error.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_bytes(b"\xff\xfe\x00\x80 encoders")
    with pytest.raises(UsageError):
        plan.read(str(tmp_path / "p.yaml"))


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="demo"):
        plan.read(str(tmp_path / "none.yaml"))
    with pytest.raises(UsageError, match="did you mean 'demo'"):
        plan.read("dmo")


def test_packaged_plans_load() -> None:
    demo = plan.read("demo")
    assert demo.encoders == ["embedded:dino", "embedded:deacl"]
    assert [budget.check_eps(eps) for eps in demo.eps] == [8 / 255]
    assert "demo" in plan.packaged()
    for name in plan.packaged():
        plan.read(name)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("8/255", 8 / 255), ("'8/255'", 8 / 255), ("1e-4", 1e-4), ("0.03", 0.03), ("0", 0.0), ("1", 1.0)],
)
def test_eps_forms(tmp_path: Path, text: str, wanted: float) -> None:
    made = _read(tmp_path, GOOD + f"eps: [{text}]\n")
    assert budget.check_eps(made.eps[0]) == wanted


@pytest.mark.parametrize(
    "eps", ["nan", "inf", "-1/255", "1/0", "1e999", "__import__('os')", float("nan"), float("inf"), -0.1]
)
def test_eps_refused(tiny: str, encoder: str, eps: object) -> None:
    with pytest.raises(UsageError) as error:
        sweep.cells_of(_plan(tiny, encoder, eps=[eps]))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("eps", "words"),
    [("8", "did you mean 8/255"), (255, "255/255"), ("300/255", "0 to 1"), (1.001, "0 to 1"), (300.0, "0 to 1")],
)
def test_a_linf_budget_above_the_range_is_refused(tiny: str, encoder: str, eps: float | str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        sweep.cells_of(_plan(tiny, encoder, eps=[4 / 255, eps]))
    assert f"eps is {eps}" in str(error.value)
    assert "\n" not in str(error.value)
    cells, _ = sweep.cells_of(_plan(tiny, encoder, eps=[eps], norm="l2", tasks=["classification"]))
    assert {cell.eps for cell in cells} == {None, budget.check_eps(eps, "l2")}


def test_the_command_line_refuses_a_budget_above_the_range(
    brittle: Callable[..., tuple[int, str, str]], tiny: str, encoder: str
) -> None:
    code, _, err = brittle("run", "-e", encoder, "-d", tiny, "--eps", "8", "--dry-run")
    assert code == 2
    assert "did you mean 8/255?" in err


@pytest.mark.parametrize("eps", [None, [0.1], 10**400, object()])
def test_eps_that_is_no_number_is_refused(eps: object) -> None:
    with pytest.raises(UsageError, match="eps is"):
        budget.check_eps(eps)  # type: ignore[arg-type]


@pytest.mark.parametrize("eps", [True, False, np.True_, torch.tensor(True)])
def test_truth_is_no_budget(eps: object) -> None:
    with pytest.raises(UsageError, match="give one number"):
        budget.check_eps(eps)  # type: ignore[arg-type]


@pytest.mark.parametrize("near", [0.031373, "0.03137", 0.0313725, 8 / 255 + 1e-9])
def test_nearly_equal_budgets_are_one(near: float | str) -> None:
    assert budget.check_eps(near) == 8 / 255


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_budgets_that_differ_have_texts_that_differ(norm: str) -> None:
    values = [1e-6, 1e-9, 0.1, 0.1 + 1e-9, 0.1 + 2e-9, 0.0314, 8 / 255, 8.5 / 255, 0.3, 0.300001, 0.0]
    sizes = {budget.check_eps(value, norm) for value in values}
    assert 0.0 in sizes
    assert len(sizes) == len(values)
    assert len({budget.eps_text(size, norm) for size in sizes}) == len(sizes)


def test_eps_text() -> None:
    assert budget.eps_text(8 / 255) == "8/255"
    assert budget.eps_text(0.5 / 255) == "0.5/255"
    assert budget.eps_text(0.1) == "0.1"
    assert budget.eps_text(0.0) == "0"
    assert budget.eps_text(1.0) == "255/255"
    assert (budget.eps_text(12.0, "l1"), budget.eps_text(8 / 255, "l1")) == ("12", repr(8 / 255))
    assert (budget.eps_text(1.0, "l2"), budget.eps_text(8 / 255, "l2")) == ("1", repr(8 / 255))
    assert budget.eps_text(None) == ""


# --- grid -------------------------------------------------------------------------------------------------------------


def test_grid_puts_the_clean_row_first_and_knows_each_tasks_own_attack(tiny: str, encoder: str) -> None:
    cells, notes = sweep.cells_of(_plan(tiny, encoder, attacks=["downstream", "noise"], eps=["4/255", "8/255"]))
    assert notes == []
    by_task: dict[str, list[Cell]] = {}
    for cell in cells:
        by_task.setdefault(cell.task, []).append(cell)
    assert set(by_task) == {"classification", "segmentation", "depth"}
    own = {"classification": "pgd", "segmentation": "segpgd", "depth": "depthpgd"}
    for task, mine in by_task.items():
        assert (mine[0].attack, mine[0].eps, mine[0].norm) == (None, None, None)
        warm = f"warm(attack={own[task]}, eps=[{4 / 255}])" if own[task] != "pgd" else f"warm(eps=[{4 / 255}])"
        assert [(cell.attack, cell.eps) for cell in mine[1:3]] == [(own[task], 4 / 255), (warm, 8 / 255)]
        assert [(cell.attack, cell.eps) for cell in mine[3:]] == [("noise", 4 / 255), ("noise", 8 / 255)], (
            "it climbs nothing"
        )
        assert warm_start.smaller_cell(mine[2]) == mine[1]
        assert warm_start.smaller_cell(mine[1]) is None


def test_grid_leaves_out_what_does_not_fit_and_says_so(tiny: str, encoder: str) -> None:
    cells, notes = sweep.cells_of(
        _plan(
            tiny, encoder, tasks=["classification", "segmentation"], attacks=["segpgd", "pgd(objective=segpgd)", "pgd"]
        )
    )
    assert {cell.attack for cell in cells if cell.task == "classification"} == {None, "pgd"}
    assert {cell.attack for cell in cells if cell.task == "segmentation"} == {
        None,
        "pgd",
        "segpgd",
        "pgd(objective=segpgd)",
    }
    assert len(notes) == 2
    assert all("left out" in note and "needs classes per pixel" in note and "classification" in note for note in notes)


def test_grid_that_leaves_nothing_is_refused(tmp_path: Path, encoder: str) -> None:
    from PIL import Image

    for i in range(12):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "a" / f"{i}.png")
    with pytest.raises(UsageError, match="nothing to measure.*depth"):
        sweep.cells_of(_plan(f"folder:{tmp_path}", encoder, tasks=["depth"]))


def test_grid_removes_duplicates(tiny: str, encoder: str) -> None:
    once, _ = sweep.cells_of(_plan(tiny, encoder, tasks=["classification"], attacks=["pgd"], eps=[8 / 255]))
    twice, _ = sweep.cells_of(
        _plan(
            tiny,
            encoder,
            encoders=[encoder, " pixels( size = 8 ) "],
            tasks=["classification"] * 2,
            attacks=["pgd", "downstream", "clean", "pgd(steps=20)"],
            eps=["8/255", 8 / 255],
            seeds=[0, 0],
        )
    )
    assert once == twice
    assert len(once) == 2


def test_grid_keeps_an_encoder_together(tiny: str, encoder: str) -> None:
    cells, _ = sweep.cells_of(
        _plan(tiny, encoder, encoders=[encoder, "pixels(size=16)"], attacks=["noise"], seeds=[0, 1])
    )
    order = [cell.encoder for cell in cells]
    assert order == sorted(order, key=["pixels(size=8)", "pixels(size=16)"].index)


@pytest.mark.parametrize("key", ["encoders", "datasets", "tasks", "attacks"])
def test_grid_refuses_a_typing_error_anywhere(tiny: str, encoder: str, key: str) -> None:
    with pytest.raises(UsageError):
        sweep.cells_of(_plan(tiny, encoder, **{key: ["nothing_of_that_name"]}))


# --- identity ---------------------------------------------------------------------------------------------------------

CHANGES = {
    "encoder": "pixels(size=16)",
    "dataset": "scenes(seed=1, size=8, test=32, train=64, val=32)",
    "task": "segmentation",
    "attack": "pgd(steps=4)",
    "eps": 4 / 255,
    "norm": "l2",
    "seed": 1,
    "limit": 15,
    "protocol": "other",
}
PLAN_IDENTITY = {"encoders", "datasets", "tasks", "attacks", "eps", "norm", "seeds", "limit", "protocol"}
# what it is called, what evidence is gathered, what is said and shown
PLAN_RUNTIME = {
    "name",
    "checks",
    "sources",
    "report",
}


@pytest.mark.fault("F23")
def test_every_field_is_classified() -> None:
    assert {f.name for f in fields(Cell)} == set(CHANGES), (
        "a new field of Cell: say here how it changes, for it is part of the identity"
    )
    assert set(Plan.model_fields) == PLAN_IDENTITY | PLAN_RUNTIME, "a new field of Plan: is it identity or runtime?"


@pytest.mark.fault("F23")
@pytest.mark.parametrize("name", CHANGES)
def test_identity_changes_with_each_field(cell_of: Cells, name: str) -> None:
    cell = cell_of()
    assert getattr(cell, name) != CHANGES[name]
    assert identity.resolve(replace(cell, **{name: CHANGES[name]})).id != identity.resolve(cell).id


@pytest.mark.fault("F23")
@pytest.mark.parametrize("name", sorted(PLAN_RUNTIME))
def test_identity_does_not_change_with_runtime(tiny: str, encoder: str, name: str) -> None:
    other = {"name": "else", "checks": "none", "sources": {"a": "b"}, "report": "md"}[name]
    ids = [
        [identity.resolve(c).id for c in sweep.cells_of(_plan(tiny, encoder, **extra))[0]]
        for extra in ({}, {name: other})
    ]
    assert ids[0] == ids[1]


def test_identities_of_a_grid_are_all_different(tiny: str, encoder: str) -> None:
    cells, _ = sweep.cells_of(
        _plan(tiny, encoder, attacks=["pgd", "embed", "noise", "downstream"], eps=[1 / 255, 2 / 255], seeds=[0, 1])
    )
    assert len({identity.resolve(cell).id for cell in cells}) == len(cells)


@pytest.mark.parametrize(
    "written", ["pgd(steps=20)", "pgd(step=0.25, keep=best)", "pgd(objective=task_loss)", "pgd(step=1/4)"]
)
def test_identity_is_the_same_for_a_default_written_out(tiny: str, encoder: str, written: str) -> None:
    ids = [
        [
            identity.resolve(cell).id
            for cell in sweep.cells_of(_plan(tiny, encoder, tasks=["classification"], attacks=[text]))[0]
        ]
        for text in ("pgd", written)
    ]
    assert ids[0] == ids[1]


def test_identity_holds_the_defaults_themselves(
    cell_of: Cells, monkeypatch: pytest.MonkeyPatch, replaced: Callable[..., None]
) -> None:
    cell = cell_of("pgd")
    before = identity.resolve(cell).id
    function = components.component("attacks", "pgd").function
    monkeypatch.setattr(function, "__kwdefaults__", {**function.__kwdefaults__, "steps": 21})
    replaced("attacks", "pgd")  # the same, and nothing remembered of it
    assert identity.resolve(cell).id != before


@pytest.mark.fault("F24")
@pytest.mark.parametrize(
    ("kind", "name", "attack", "task"),
    [
        ("encoders", "pixels", "pgd", "classification"),
        ("datasets", "scenes", "pgd", "classification"),
        ("tasks", "classification", "pgd", "classification"),
        ("attacks", "pgd", "pgd", "classification"),
        ("objectives", "task_loss", "pgd", "classification"),
        ("objectives", "embedding", "pgd(objective=embedding(tokens=all))", "classification"),
        ("objectives", "embedding", "embed", "classification"),
        ("objectives", "segpgd", "segpgd", "segmentation"),
        ("objectives", "task_loss", "depthpgd", "depth"),
    ],
)
def test_identity_changes_with_a_components_version(
    cell_of: Cells, replaced: Callable[..., None], kind: str, name: str, attack: str, task: str
) -> None:
    cell = cell_of(attack, task)
    before = identity.resolve(cell).id
    replaced(kind, name, version=1000)
    assert identity.resolve(cell).id != before


def test_identity_changes_with_the_measuring_itself(cell_of: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity.resolve(cell_of()).id
    monkeypatch.setattr(identity, "MEASURE_VERSION", identity.MEASURE_VERSION + 1)
    assert identity.resolve(cell_of()).id != before


def test_identity_changes_with_what_a_limit_leaves(cell_of: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [identity.resolve(cell_of(limit=limit)).id for limit in (8, None)]
    monkeypatch.setattr(identity, "SUBSET_VERSION", identity.SUBSET_VERSION + 1)
    after = [identity.resolve(cell_of(limit=limit)).id for limit in (8, None)]
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_the_same_data_by_another_path_is_the_same(
    tmp_path: Path, cell_of: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "val", "test"):
        for place in range(2):
            path = tmp_path / "data" / split / "a" / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (9, 9, 60 * place)).save(path)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    ids = {
        identity.resolve(cell_of(dataset=components.canonical("datasets", f"folder:{place}"))).id
        for place in (tmp_path / "data", "data", "data/", "./data", tmp_path / "link", tmp_path / "copy")
    }
    assert len(ids) == 1
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "copy" / "test" / "a" / "0.png")
    identity.dataset_of.cache_clear()
    changed = identity.resolve(cell_of(dataset=components.canonical("datasets", "folder:copy")))
    assert changed.id not in ids


def test_identity_changes_with_weights(cell_of: Cells, replaced: Callable[..., None]) -> None:
    before = identity.resolve(cell_of()).id
    replaced("encoders", "pixels", fingerprint=lambda **_settings: "other weights")
    assert identity.resolve(cell_of()).id != before


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_identity_changes_with_the_data(cell_of: Cells, monkeypatch: pytest.MonkeyPatch, split: str) -> None:
    cell = cell_of()
    before = identity.resolve(cell).id
    monkeypatch.setattr(identity.dataset_of(cell.dataset, split), "fingerprint", "touched")
    assert identity.resolve(cell).id != before


def test_identity_is_the_same_in_another_process(cell_of: Cells) -> None:
    cell = cell_of("pgd(objective=embedding(tokens=all), steps=3)")
    code = (
        "from brittle.planning import identity; from brittle.core.records import Cell; "
        f"print(identity.resolve({cell!r}).id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "17"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == identity.resolve(cell).id
