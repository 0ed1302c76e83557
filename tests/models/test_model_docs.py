"""docs/models.md: every command is one, every way in has one, and what is to be copied runs as it stands."""

import re
import shlex
from pathlib import Path

import pytest

import brittle
from brittle.core import components, spec

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
