"""The scripts of benchmarks/ that print ratios, at toy size: the rows that they promise, and that what is timed
computes the same; nothing of how long it takes.

Processes that a script starts are stood in for by calls in this one, as their start takes longer than all the rest.
"""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from benchmark import benchmark
from brittle.evaluation.cache import LIMIT
from brittle.types import windows

PIXELS = "pixels(size=8)"
TINY = "scenes(train=64, val=32, test=32, size=8)"
NETWORK = "timm:test_vit(pretrained=false, size=32)"


@pytest.fixture
def said(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What a script writes as JSON, called with every setting of its ``main`` that has no plain default."""

    def call(script: Any, **settings: Any) -> dict[str, Any]:
        path = tmp_path / "said.json"
        script.main(**settings, path=path)
        found = json.loads(path.read_text(encoding="utf8"))
        assert {"torch", "threads", "processor", "date", "seconds"} <= found["facts"].keys()
        return found

    return call


@pytest.fixture
def instead(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, Callable[..., Any]], None]:
    """Have a script call this in place of ``subprocess.run``."""

    def put(script: Any, run: Callable[..., Any]) -> None:
        stand_in = SimpleNamespace(run=run, PIPE=subprocess.PIPE, DEVNULL=subprocess.DEVNULL)
        monkeypatch.setattr(script, "subprocess", stand_in)

    return put


def sound(rows: Mapping[str, Mapping[str, Any]], names: set[str], bases: set[str], rounds: int) -> None:
    """These rows are there, each with its rounds, and ratios over these that are positive numbers."""
    assert names <= rows.keys()
    for name, row in rows.items():
        assert len(row["seconds"]) == rounds, name
        assert row["over"].keys() == bases, name
        for base, over in row["over"].items():
            assert 0 < over["low"] <= over["median"] <= over["high"] < math.inf, (name, base)
    for base in bases:
        assert set(rows[base]["over"][base].values()) == {1.0}


def test_ways_are_timed_in_turn() -> None:
    rounds, order = benchmark("rounds"), list[str]()
    timed = rounds.in_turn(
        {name: lambda name=name: order.append(name) or name for name in "ab"},
        3,
        before=lambda name: order.append(f"<{name}"),
    )
    assert order == ["<a", "a", "<b", "b"] * 3
    assert timed.found == {"a": "a", "b": "b"}
    assert {name: len(values) for name, values in timed.seconds.items()} == {"a": 3, "b": 3}


def test_ratios_are_taken_round_by_round() -> None:
    rounds = benchmark("rounds")
    rows = rounds.rows_of({"floor": [1.0, 2.0, 4.0], "ours": [2.0, 3.0, 5.0]}, "floor", right={"ours": 0.5})
    assert rows["ours"]["over"] == {"floor": {"median": 1.5, "low": 1.25, "high": 2.0}}
    assert rows["ours"]["right"] == 0.5
    assert "right" not in rows["floor"]


def test_attack(said: Callable[..., dict[str, Any]]) -> None:
    found = said(benchmark("attack"), encoder=PIXELS, images=4, steps=2, rounds=2, precision="")
    names = {
        "floor",
        "naive loop",
        "pgd(steps=2, keep=last) fp32",
        "embed(steps=2) fp32",
        "pgd(steps=2) fp32, settling",
    }
    sound(found["rows"], names, {"floor"}, 2)
    assert found["rows"]["naive loop"]["accuracy"] == found["rows"]["floor"]["accuracy"]
    assert all(0 <= row["accuracy"] <= 1 for row in found["rows"].values())


@pytest.mark.parametrize("tokens", ["cls", "grid"])
def test_embed_moves_features_as_far_as_its_floor(said: Callable[..., dict[str, Any]], tokens: str) -> None:
    found = said(benchmark("embed"), encoder=NETWORK, images=2, steps=2, rounds=1, tokens=tokens)
    rows, ours = found["rows"], f"embed(steps=2, tokens={tokens}"
    sound(rows, {"floor", "naive loop", f"{ours})", f"{ours}, keep=last)"}, {"floor"}, 1)
    least = rows["floor"]["distance"]
    assert least > 0
    assert rows["naive loop"]["distance"] == pytest.approx(least, rel=1e-4)
    assert rows[f"{ours}, keep=last)"]["distance"] == pytest.approx(least, rel=1e-4)
    assert rows[f"{ours})"]["distance"] >= least * (1 - 1e-4)


@pytest.mark.parametrize("attack", ["worst(attacks=[pgd(steps=2), apgd(steps=2)])", "autoattack(steps=1, queries=3)"])
@pytest.mark.usefixtures("quick")
def test_an_ensemble_leaves_no_image_right_that_a_member_has_fooled(
    said: Callable[..., dict[str, Any]], attack: str
) -> None:
    found = said(benchmark("ensemble"), encoder=PIXELS, data=TINY, attack=attack, eps="2/255", images=6, rounds=1)
    names = {"floor", "floor on all", "naive loops on all", "members on all", "ensemble", "ensemble, settling"}
    sound(found["rows"], names, {"floor", "members on all"}, 1)
    standing = found["standing"]
    assert standing == sorted(standing, reverse=True)
    assert len(standing) == len(found["members"])
    accuracy = {name: row["accuracy"] for name, row in found["rows"].items() if "accuracy" in row}
    assert accuracy["ensemble"] == accuracy["ensemble, settling"] == accuracy["members on all"]


def test_windows_give_the_gradient_of_one_graph(
    said: Callable[..., dict[str, Any]],
    instead: Callable[[Any, Callable[..., Any]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script, peaks, asked = benchmark("windows"), count(1), list[list[str]]()
    app = typer.Typer()
    app.command()(script.main)

    def inside(command: list[str], **_: Any) -> Any:
        asked.append(command[2:])
        with monkeypatch.context() as patch:
            patch.setattr(windows, "checkpoint", windows.checkpoint)  # which one of the ways replaces
            patch.setattr(script, "peak", lambda: next(peaks))  # that of this process is behind it
            done = CliRunner().invoke(app, command[2:], catch_exceptions=False)
        return SimpleNamespace(returncode=done.exit_code, stdout=done.stdout)

    instead(script, inside)
    size = {"height": 32, "width": 64, "window": 32}
    found = said(script, encoder=NETWORK, **size, rounds=1, only="", within="")
    names = {"floor", "one graph", "window by window"}
    assert len(asked) == 3
    sound(found["rows"], names, {"floor", "one graph"}, 1)
    assert found["gradients_apart"] < 1e-5
    assert 0 < found["memory_over_graph"]["median"] < math.inf
    assert all(row["bytes"]["median"] > 0 for row in found["rows"].values())


@pytest.mark.usefixtures("quick")
def test_heads_are_fitted_on_the_same_features(
    said: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT, "7")
    script, tasks = benchmark("fit"), ["classification", "segmentation", "depth"]
    found = said(script, encoder=PIXELS, data=TINY, task=tasks, epochs=1, rounds=1)
    assert list(found["tasks"]) == tasks
    ways = {script.ANEW, script.FIRST, script.KEPT, script.ONE}
    for each in found["tasks"].values():
        sound(each["rows"], {"floor", "naive loop", *ways}, {"floor", script.ANEW}, 1)
        assert each["same_features"] is True
        val = {name: each["rows"][name]["val"] for name in ways}
        assert val[script.FIRST] == val[script.KEPT] == pytest.approx(val[script.ANEW], abs=1e-3)
        assert 0 < each["anew_over_kept"]["median"] < math.inf
        assert 0 < each["rates_over_one"]["median"] < math.inf
    assert script.os.environ[LIMIT] == "7"


@pytest.mark.usefixtures("quick")
def test_a_run_end_to_end(
    said: Callable[..., dict[str, Any]],
    brittle: Callable[..., tuple[int, str, str]],
    instead: Callable[[Any, Callable[..., Any]], None],
) -> None:
    script = benchmark("endtoend")

    def inside(command: list[str], **_: Any) -> None:
        assert command[:3] == [sys.executable, "-m", "brittle"]
        assert brittle(*command[3:], "--checks", "none")[0] == 0

    instead(script, inside)
    settings = {"encoder": PIXELS, "data": TINY, "task": ["classification"], "limit": 4}
    found = said(script, **settings, attack=["pgd(steps=2)", "embed(steps=1)"], rounds=1)
    names = {"floor", "naive loops", script.FRESH, script.FEATURES, script.HEADS}
    sound(found["rows"], names, {"floor", "naive loops"}, 1)
    assert [found["rows"][name]["cells"] for name in script.GONE] == [3, 3, 3]
    assert sorted(found["image_steps"].values()) == [4, 8]


def test_startup(said: Callable[..., dict[str, Any]], instead: Callable[[Any, Callable[..., Any]], None]) -> None:
    script, asked = benchmark("startup"), list[list[str]]()

    def empty(command: list[str], *, check: bool, **more: Any) -> Any:
        asked.append(command[1:])
        return subprocess.run([sys.executable, "-S", "-c", "pass"], check=check, **more)

    instead(script, empty)
    found = said(script, run="", rounds=1)
    names = {"python -c pass", "import torch", "import torch, timm, typer", "import brittle", "brittle --help"}
    sound(found["rows"], names, {"python -c pass", "import torch"}, 1)
    assert ["-m", "brittle", "list", "attacks"] in asked


def test_cost(said: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    asked = {"steps": [1, 2], "images": [1, 2], "size": [32, 48], "classes": [3, 5]}
    network, plot = "timm:test_vit(pretrained=false, size={size})", tmp_path / "cost.svg"
    found = said(benchmark("cost"), encoder=network, **asked, rounds=1, plot=plot)
    assert found["base"] == {axis: values[0] for axis, values in asked.items()}
    points = [(row["task"], row["axis"], row["value"]) for row in found["rows"]]
    tasks = ("classification", "segmentation")
    assert points == [(task, axis, value) for task in tasks for axis, values in asked.items() for value in values]
    assert all(0 < row["over_floor"]["median"] < math.inf for row in found["rows"])
    assert plot.read_text(encoding="utf8").count("segpgd") >= 1
