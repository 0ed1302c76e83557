"""What is read from a component's source is what its signature says, and every setting has a meaning."""

import ast
import math
from pathlib import Path

import pytest

from brittle.core import components, source
from brittle.core.spec import text_of
from brittle.core.traits import DatasetTraits, TuningTraits


@pytest.mark.parametrize("kind", components.KINDS)
def test_settings_and_defaults_are_those_of_the_signature(kind: str) -> None:
    for name in components.names(kind):
        read = source.describe(kind, name)
        settings = components.settings_of(components.component(kind, name).function)
        assert [each.name for each in read.settings] == list(settings)
        for each in read.settings:
            default = settings[each.name]
            given = components.parse(f"x(y={each.default})").settings["y"]
            assert text_of(given) == text_of(default) or str(given) == default or given == default, (name, each)


@pytest.mark.parametrize("kind", components.KINDS)
def test_every_setting_says_what_it_may_be_and_what_it_means(kind: str) -> None:
    lacking = [
        f"{kind}/{name}: {each.name}"
        for name in components.names(kind)
        for each in source.describe(kind, name).settings
        if not each.meaning or not each.values
    ]
    assert not lacking, f"say under Args what these are: {lacking}"


def _value(text: str) -> object:
    """What the text of a setting stands for, a product of fractions included."""
    parts = [components.parse(f"x(y={part})").settings["y"] for part in text.split("*")]
    return math.prod(parts) if len(parts) > 1 else text if "(" in text else parts[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", components.names("tuning"))
def test_presets_are_those_of_the_traits_and_say_what_they_are(name: str) -> None:
    stated, read = components.component("tuning", name).traits, source.presets("tuning", name)
    assert isinstance(stated, TuningTraits)
    assert list(read) == list(stated.presets)
    for preset, (text, settings) in read.items():
        assert text, f"say below the settings of {name}(preset={preset}) where they are from"
        assert {key: _value(value) for key, value in settings.items()} == stated.presets[preset]


@pytest.mark.parametrize("name", components.names("datasets"))
def test_its_source_says_where_to_get_it_its_licence_and_its_layout(name: str) -> None:
    stated, read = components.component("datasets", name).traits, source.describe("datasets", name).traits
    assert isinstance(stated, DatasetTraits)
    for word in ("source", "licence", "layout", "protocol"):
        assert read[word] == getattr(stated, word) != "not stated"
    assert bool(read.get("download")) == bool(stated.download)


@pytest.mark.parametrize(
    ("kind", "name", "setting", "words"),
    [
        ("attacks", "pgd", "steps", "whole number at least 0"),
        ("attacks", "segpgd", "keep", "best, score, last or fooled"),
        ("attacks", "pgd", "objective", "spec of an objective"),
        ("attacks", "worst", "attacks", "specs of attacks"),
        ("attacks", "warm", "eps", "list, each number above 0"),
        ("attacks", "embed", "layer", "whole number or final"),
        ("attacks", "fab", "beta", "number at least 0, at most 1"),
        ("encoders", "file", "mean", "[] or [number, number, number]"),
    ],
)
def test_what_a_setting_may_be(kind: str, name: str, setting: str, words: str) -> None:
    (found,) = [each for each in source.describe(kind, name).settings if each.name == setting]
    assert found.values == words


def test_several_names_of_one_meaning_and_lines_that_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "made.py"
    text = '''"""A made-up one. And advice."""


def made(argument: str, /, *, a: int, b: float = 8 / 255) -> None:
    """What it does: this.

    Args:
        argument: a place, as in
            ``made:HERE``.
        a, b: how far,
            in ``metres``.

    Raises:
        UsageError: never: not even then.

    Afterwards
    as well.
    """
'''
    ast.parse(text)
    path.write_text(text)
    monkeypatch.setattr(components, "path_of", lambda kind, name: path)
    read = source.describe("attacks", "made")
    assert read.about == ["What it does: this.", "Afterwards as well."]
    assert read.argument == "a place, as in ``made:HERE``."
    assert source.example_argument("attacks", "made") == "HERE"
    assert [(each.name, each.default, each.meaning) for each in read.settings] == [
        ("a", "", "how far, in ``metres``."),
        ("b", "8/255", "how far, in ``metres``."),
    ]
