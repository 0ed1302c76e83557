"""docs/data.md names every data set, its commands make sense, and its Python runs as it stands."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import published
import pytest

from brittle.core import components
from brittle.evaluation import probe

TEXT = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf8")


def test_every_data_set_is_in_the_table_with_a_command_that_makes_sense() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("|") and "`brittle run" in line]
    commands = [shlex.split(re.findall(r"`(brittle run[^`]+)`", row)[0]) for row in rows]
    specs = [components.complete("datasets", words[words.index("-d") + 1]) for words in commands]
    assert {made.name for made in specs} == set(components.names("datasets"))


def test_every_data_set_that_can_be_fetched_is_said_to_be() -> None:
    (line,) = [line for line in TEXT.splitlines() if line.startswith("brittle data download cifar10")]
    for name in components.names("datasets"):
        download = components.component("datasets", name).traits.download
        reader = download[0] if isinstance(download, tuple) else ""
        said = {
            "CIFAR100": "CIFAR",
            "CIFAR10": "CIFAR",
            "STL10": "STL-10",
            "FashionMNIST": "Fashion-MNIST",
            "Flowers102": "Flowers",
        }
        assert said.get(reader, reader.removesuffix("Segmentation").replace("Food", "Food-")) in line, name


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(probe, "STANDARD", replace(probe.STANDARD, steps=4, rates=(1e-3,)))

    def my_pair(_part: str, i: int) -> tuple[np.ndarray, np.ndarray]:
        return published.pixels(i), published.values(0, 1, 255)

    (block,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    names = {"my_pair": my_pair}
    exec(compile(block, "docs/data.md", "exec"), names)  # noqa: S102 - our own page
    assert [result.failed for result in names["results"]] == [None, None, None]
