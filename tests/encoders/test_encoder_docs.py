"""docs/encoders.md: every command is one, every spec is complete, and the encoder in ten lines runs as it stands."""

import re
import shlex
from pathlib import Path

import pytest

import brittle
from brittle.core import components, spec

TEXT = (Path(__file__).parents[2] / "docs" / "encoders.md").read_text(encoding="utf8")
EVERY = re.findall(r"`(brittle run -e [^`]+)`", TEXT)
HEADS = [command for command in EVERY if " -t " in command]
COMMANDS = [command for command in EVERY if command not in HEADS]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command) -> None:
    words = shlex.split(command)
    assert words[:3] == ["brittle", "run", "-e"]
    assert words[4:] == ["-d", "scenes"]
    full = components.complete("encoders", words[3])
    assert str(spec.parse(str(full))) == str(full)


@pytest.mark.parametrize("command", HEADS)
def test_commands_of_heads(command) -> None:
    words = shlex.split(command)
    assert [words[i] for i in (2, 4, 6)] == ["-e", "-d", "-t"]
    assert len(words) == 8
    for kind, text in zip(("encoders", "datasets", "tasks"), words[3::2]):
        full = components.complete(kind, text)
        assert str(spec.parse(str(full))) == str(full)
    given = spec.parse(words[7]).settings.get("head", "linear")
    assert str(full.settings["head"]) == str(given)


def test_every_encoder_has_a_command() -> None:
    assert {spec.parse(shlex.split(command)[3]).name for command in COMMANDS} == set(components.names("encoders"))


def test_your_own_encoder_in_ten_lines(tmp_path, monkeypatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(block.splitlines()) <= 10
    (tmp_path / "mine.py").write_text(block, encoding="utf8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRITTLE_CACHE", str(tmp_path / "cache"))
    tiny = "scenes(train=16, val=8, test=8)"
    results = brittle.run(
        ["py:mine.py:robust"],
        [tiny],
        ["classification"],
        attacks=["pgd(steps=2)"],
        limit=4,
        output_dir=tmp_path / "run",
    )
    assert len(results) == 2
    assert not any(result.failed for result in results)
