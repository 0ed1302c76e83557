"""The schema of JSON: what is written fits it, and what it says is not more than what is written."""

import json
from collections.abc import Callable
from dataclasses import fields
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from made_results import number, two_encoders

from brittle.core import components
from brittle.core.records import Cell, Finding, Result
from brittle.results.store import read_run

SCHEMA: dict[str, Any] = json.loads(
    (resources("brittle") / "assets" / "results.schema.json").read_text(encoding="utf8")
)
KINDS = SCHEMA["$defs"]
OLDER = Path(__file__).parents[1] / "results" / "older_run"


def written(results: list[Result]) -> list[dict[str, Any]]:
    data = json.loads(components.component("reports", "json").function(results))
    Draft202012Validator(SCHEMA).validate(data)
    return data


@pytest.mark.usefixtures("quick")
def test_what_a_run_writes_fits(
    tiny: str, encoder: str, tmp_path: Path, brittle: Callable[..., tuple[int, str, str]]
) -> None:
    what = ("-e", encoder, "-d", tiny, "-t", "classification,depth", "-a", "curve(attack=pgd(steps=2))", "--limit", 4)
    code, out, err = brittle("run", *what, "--output-dir", tmp_path, "--json")
    assert code == 0, err
    Draft202012Validator(SCHEMA).validate(json.loads(out))
    data = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf8"))
    Draft202012Validator(SCHEMA).validate(data)
    assert {row["task"]["name"] for row in data} == {"classification", "depth"}
    assert any(row["curve"] for row in data)


def test_what_older_versions_and_failures_left_fits() -> None:
    failed = number(
        0.5, failed="nonfinite: the model predicts nan", metrics={}, findings=[Finding("a", "warn", None, "b")]
    )
    assert written([*read_run(OLDER), failed, *two_encoders()])
    assert written([]) == []


def test_the_schema_names_every_field_of_the_records() -> None:
    assert set(KINDS["result"]["required"]) == {field.name for field in fields(Result)}
    assert set(KINDS["result"]["properties"]) - set(KINDS["result"]["required"]) == {"robustbench"}
    assert set(KINDS["cell"]["properties"]) == set(KINDS["cell"]["required"]) == {field.name for field in fields(Cell)}
    assert set(KINDS["finding"]["properties"]) == {field.name for field in fields(Finding)}


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"metrics": {"accuracy": "0.5"}},
        {"intervals": {"accuracy": [0.1]}},
        {"schema_version": 2},
        {"failed": True},
        {"findings": [{"name": "a", "verdict": "fine", "value": None, "why": ""}]},
        {"cell": {}},
        {"robustbench": {"name": "x"}},
    ],
)
def test_what_is_wrong_does_not_fit(change: dict[str, Any]) -> None:
    (row,) = written([number(0.5)])
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate([{**row, **change}])


def test_robustbench_has_an_attacked_accuracy_with_its_clean_one() -> None:
    weights = {"weights": {"arch": "vit_small"}, "weights_sha256": "1", "data_sha256": "2"}
    clean = number(0.9, encoder="file:w.pth", dataset="cifar10:data", made_by=weights)
    attacked = [
        number(0.5625, attack=attack, encoder="file:w.pth", dataset="cifar10:data", eps=8 / 255, made_by=weights)
        for attack in ("autoattack(version=standard)", "warm(eps=[0.01], attack=pgd)")
    ]
    other = number(
        0.5, attack="pgd", encoder="file:w.pth", dataset="cifar10:data", made_by={**weights, "weights_sha256": "3"}
    )
    depth = number(0.5, "depth", "pgd")
    first, *rest = written([clean, *attacked, other, depth])
    entry = {"name": "file:w.pth", "architecture": "vit_small", "dataset": "cifar10", "norm": "Linf", "eps": "8/255"}
    assert "robustbench" not in first
    assert rest[0]["robustbench"] == {**entry, "clean_acc": "90.00", "autoattack_acc": "56.25"}
    assert rest[1]["robustbench"] == {**entry, "clean_acc": "90.00", "pgd_acc": "56.25"}
    assert rest[2]["robustbench"] == {**entry, "eps": "16/255", "pgd_acc": "50.00"}
    assert "robustbench" not in rest[3]
