"""The encoders of the package by name and version."""

import json
import runpy
import shutil
from pathlib import Path

import pytest

from brittle import run
from brittle.api import tuning
from brittle.core import components
from brittle.core.errors import UsageError
from brittle.encoders import embedded
from brittle.planning.identity import weights_of


def test_a_version_names_the_same_weights() -> None:
    assert weights_of("embedded:deacl@2") == weights_of("embedded:deacl") != weights_of("embedded:deacl@1")
    assert components.build("encoders", "embedded:deacl@1").about["source"] == "embedded:deacl@1"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("deacl@7", "no version '7' of deacl; the newest is 2"),
        ("decl@1", "did you mean 'deacl@1'"),
        ("random@1", "no embedded encoder 'random@1'"),
        ("@", "no embedded encoder '@'"),
    ],
)
def test_one_that_is_not_there_is_refused(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        components.build("encoders", f"embedded:{name}")


def test_weights_that_were_made_again_leave_the_old_ones_in_reach(tmp_path: Path, monkeypatch) -> None:
    assets = tmp_path / "assets"
    shutil.copytree(Path(embedded.__file__).parents[1] / "assets", assets)
    old = weights_of("embedded:fare")
    for suffix in ("safetensors", "json"):
        shutil.move(assets / f"fare.{suffix}", assets / f"fare@1.{suffix}")
        shutil.copy(assets / f"dino.{suffix}", assets / f"fare.{suffix}")
    card = json.loads((assets / "fare.json").read_text())
    (assets / "fare.json").write_text(json.dumps({**card, "version": 2}))
    monkeypatch.setattr(embedded, "resources", lambda _: tmp_path)
    assert embedded.fingerprint("fare@1") == old
    assert embedded.fingerprint("fare@2") == embedded.fingerprint("fare") != old


@pytest.mark.parametrize("name", ["deacl", "fare", "robust"])
def test_what_ships_was_made_as_the_recipe_stands(name: str) -> None:
    recipe = runpy.run_path(str(Path(__file__).parents[2] / "recipes/tuned.py"))
    card = json.loads((Path(embedded.__file__).parents[1] / f"assets/{name}.json").read_text())
    assert card["method"] == recipe["METHODS"][name]
    assert card["recipe"] == f"recipes/tuned.py {name}"
    assert card["teacher_sha256"] == weights_of(recipe["TEACHER"])
    assert card["data"].startswith(recipe["DATA"])


def test_the_preset_is_what_robust_was_made_with() -> None:
    recipe = runpy.run_path(str(Path(__file__).parents[2] / "recipes/tuned.py"))
    aside = {"workers", "save_every"}
    ours, asked = (tuning.split(text) for text in ("fare(preset=fast)", recipe["METHODS"]["robust"]))
    assert ours[0] == asked[0]
    assert ours[1] == {key: value for key, value in asked[1].items() if key not in aside}


def test_the_tuned_ones_are_ever_more_robust(tmp_path: Path) -> None:
    names = [f"embedded:{name}" for name in ("dino", "deacl", "fare", "robust")]
    data, tasks = "scenes(train=128, val=32, test=64)", ["classification(head=knn)"]
    found = run(names, [data], tasks, ["pgd(steps=10)"], ["4/255"], checks="none", output_dir=tmp_path)
    attacked = [result.metrics["accuracy"] for result in found if result.cell.attack]
    assert attacked == sorted(attacked)
    assert attacked[0] < 0.1
    assert attacked[-1] > attacked[1] + 0.1
