"""docs/models.md: every command is one, every way in has one, and what is to be copied runs as it stands."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

import brittle
from brittle.core import components, spec
from brittle.core.records import Cell
from brittle.evaluation import published
from brittle.planning import plan

TEXT = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf8")
COMMANDS = [command for command in re.findall(r"`(brittle run [^`]+)`", TEXT) if command.count("--model")]
MINE, PYTHON = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command) -> None:
    words = shlex.split(command)
    assert (words[:3], words[4]) == (["brittle", "run", "--model"], "-d")
    full = components.complete("encoders", f"model:{words[3]}")
    assert str(spec.parse(str(full))) == str(full)
    assert spec.parse(words[5]).name in components.names("datasets")


def test_every_way_in_has_a_command() -> None:
    assert {spec.parse(shlex.split(command)[3]).name for command in COMMANDS} == set(components.names("models"))


def test_your_own_on_the_command_line(tmp_path, monkeypatch) -> None:
    (tmp_path / "mine.py").write_text(MINE, encoding="utf8")
    monkeypatch.chdir(tmp_path)
    (clean,) = brittle.run(
        ["model:py:mine.py:network(classes=[0,1,0,1,0,1,0,1])"],
        ["scenes(train=8, val=8, test=8)"],
        ["classification"],
        attacks=[],
        limit=4,
        output_dir="run",
    )
    assert clean.failed is None


def test_your_own_in_python(capsys) -> None:
    lines = PYTHON.split("import brittle\n")[1].strip().splitlines()
    assert len(lines) <= 5
    exec(compile(PYTHON, "models.md", "exec"), {})  # noqa: S102 - the page's own lines
    assert "budget" in capsys.readouterr().out


def test_published_numbers_are_those_of_the_data() -> None:
    """Each row of the page, and each number of the plan's networks."""
    for each in published.every()["clean"]:
        name = each["network"].removeprefix("model:")
        row = f"| `{name}` | {each['dataset']} | {each['metric']} | {each['value']:g} | {each['source']} |"
        assert row in TEXT
    for each in published.every()["sea"]["rows"]:
        numbers = " | ".join(f"{each[key]:g}" for key in ("clean", "4/255", "8/255"))
        assert f"| {each['network']} | {each['dataset']} | {numbers} |" in TEXT
    named = plan.read("models").encoders
    assert {each["network"] for each in published.every()["clean"]} <= set(named)


def test_a_clean_row_is_held_against_the_published_number() -> None:
    shared = (None, None, None, 0, None, "standard")
    cell = Cell("model:timm:resnet50.a1_in1k", "imagenet:DIR", "classification", *shared)
    near, far = (
        published.beside(cell, {"accuracy": value}, {"accuracy": (value - 0.02, value + 0.02)})[0]
        for value in (0.79, 0.6)
    )
    assert (near.verdict, far.verdict) == ("ok", "warn")
    assert "clean accuracy 0.600, published 0.80382 (github.com/huggingface" in far.why
    assert far.value == pytest.approx(-0.20382)
    assert not published.beside(replace(cell, attack="pgd", eps=0.1, norm="linf"), {}, {})
    assert not published.beside(replace(cell, encoder="model:timm:resnet50"), {}, {})


def test_the_plan_says_what_is_missing(tmp_path, monkeypatch, request) -> None:
    """Every network and data set, each with where to get it."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, _ = request.getfixturevalue("brittle")("run", "models", "--data-root", str(tmp_path), "--dry-run")
    every = plan.read("models")
    lines = [line for line in out.splitlines() if line.startswith("lacks")]
    assert len(lines) == len(every.encoders) + len(every.datasets)
    assert all("; get it from " in line for line in lines)
    assert code == 0
