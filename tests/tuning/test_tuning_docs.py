"""docs/robust-tuning.md: its commands run, on less, and its tables name every method and every setting."""

import re
import shlex
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from brittle.core import components
from brittle.tuning.parts.recipe import Recipe

PAGE = (Path(__file__).parents[2] / "docs" / "robust-tuning.md").read_text(encoding="utf8")
COMMANDS = re.findall(r"```bash\n(.*?)```", PAGE.partition("## Methods")[0], flags=re.DOTALL)[0].splitlines()
LESS = ["--set", "batch=4", "--limit", "4", "-q"]


@pytest.mark.usefixtures("quick")
def test_the_commands_run(
    brittle: Callable[..., tuple[int, str, str]], tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    smaller = {"scenes": tiny, "steps=200": "steps=2", "20": "2", "--save-every 2": "--save-every 1"}
    for line in COMMANDS:
        words = [smaller.get(word, word) for word in shlex.split(line)[1:]]
        code, out, err = brittle(*words, *(LESS if words[0] == "finetune" else ["--limit", "4", "-q"]))
        assert code == 0, f"{line}: {err}"
    assert [path.name for path in sorted((tmp_path / "runs/history-of-deacl").glob("*.safetensors"))] == [
        "encoder.safetensors",
        "epoch-000000.safetensors",
    ]


def test_every_method_stands_in_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.partition("## Methods")[2].partition("## The recipe")[0], re.MULTILINE)
    assert sorted(rows) == sorted(components.names("tuning"))


def test_every_setting_stands_in_the_table_with_its_default() -> None:
    table = PAGE.partition("## The recipe")[2].partition("\n## ")[0]
    known = {each.name: each.default for each in fields(Recipe)}
    found: dict[str, str] = {}
    for names, defaults in re.findall(r"^\| (`.+?) \| (.+?) \|", table, re.MULTILINE):
        found |= dict(zip(re.findall(r"`(\w+)`", names), defaults.split(", "), strict=True))
    assert found.keys() == known.keys()
    for name, text in found.items():
        default = known[name]
        if isinstance(default, bool | str | tuple):
            assert text == {(): "all", False: "false"}.get(default, default), name
        else:
            assert float(text) == default, name


def test_a_preset_is_named_in_the_docs() -> None:
    for name in components.names("tuning"):
        for preset in getattr(components.component("tuning", name).traits, "presets", {}):
            assert f"`{preset}`" in PAGE, f"{name}(preset={preset})"
