"""Which images a limit leaves: of every class, the same ones whatever else is asked, and said."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from brittle.api.loading import load_dataset
from brittle.core.errors import UsageError
from brittle.evaluation.subset import describe, subset
from brittle.planning import plan, protocols
from brittle.results.store import read_run
from brittle.types import DatasetDefaults, Sample

Run = Callable[..., tuple[int, str, str]]


class Named(DatasetDefaults):
    """Images of which only names and classes are known."""

    licence = fingerprint = ""

    def __init__(self, labels: Sequence[int] | None, names: Sequence[str]) -> None:
        self.labels, self.ids = labels, names
        self.classes = {"mask": ["a", "b"]} if labels is None else {"label": [str(i) for i in range(10)]}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int, /) -> Sample:
        raise AssertionError(f"image {index} was read")

    def glance(self, index: int, kind: str, /) -> tuple[Sequence[int], Tensor]:
        assert kind == "label"
        assert self.labels is not None
        return (), torch.tensor(self.labels[index])


def _sorted(*counts: int) -> Named:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return Named(labels, [f"{label}/{place:04d}.png" for place, label in enumerate(labels)])


@pytest.mark.parametrize("limit", range(1, 41))
def test_classes_are_as_even_as_can_be(limit: int) -> None:
    data = _sorted(12, 9, 12, 7)
    assert data.labels is not None
    counts = Counter(data.labels[place] for place in subset(data, limit))
    taken, room = [counts[label] for label in range(4)], [12, 9, 12, 7]
    assert sum(taken) == limit
    for mine, most in zip(taken, room):
        assert mine == most or max(taken) - mine <= 1, taken


def test_eight_of_a_folder_sorted_by_class_are_one_of_each() -> None:
    data = _sorted(*[6] * 8)
    assert data.labels is not None
    assert sorted(data.labels[place] for place in subset(data, 8)) == list(range(8))
    assert list(subset(data, 8, "first")) == list(range(8))


@pytest.mark.parametrize("data", [_sorted(30, 5, 17), Named(None, [f"{i}.png" for i in range(52)])])
def test_a_larger_limit_contains_the_smaller(data: Named) -> None:
    chosen = [list(subset(data, limit)) for limit in range(1, 53)]
    for smaller, larger in zip(chosen, chosen[1:]):
        assert set(smaller) < set(larger)
    assert all(places == sorted(places) for places in chosen)
    assert chosen[-1] == list(subset(data, None)) == list(subset(data, 1000)) == list(range(52))


def test_the_draw_goes_by_name_not_by_place() -> None:
    data = _sorted(8, 8)
    assert data.labels is not None
    turned = Named(data.labels[::-1], data.ids[::-1])
    names = [{each.ids[place] for place in subset(each, 5)} for each in (data, turned)]
    assert names[0] == names[1]
    spread = [
        place for start in range(0, 400, 50) for place in subset(Named(None, [f"{start}-{i}" for i in range(50)]), 5)
    ]
    assert 15 < sum(spread) / len(spread) < 35, "not the first ones"


def test_scenes_say_their_class_before_they_are_drawn() -> None:
    data = load_dataset("scenes(test=24, size=16)", "test")
    for place in (0, 7, 23):
        assert data.glance(place, "label")[1] == data[place].targets["label"]


@pytest.mark.parametrize("limit", [0, -3])
def test_less_than_one_is_refused(limit: int) -> None:
    with pytest.raises(UsageError, match="give 1 or more"):
        subset(_sorted(3), limit)


def test_what_a_limit_leaves_is_said() -> None:
    assert describe(2, _sorted(3), "balanced") == "2 of 3 images drawn by name, balanced over classes"
    assert describe(2, Named(None, "abc"), "balanced") == "2 of 3 images drawn by name"
    assert describe(2, _sorted(3), "first") == "the first 2 of 3 images"
    assert describe(3, _sorted(3), "balanced") == ""


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("standard", "standard"),
        ("standard(subset=balanced)", "standard"),
        ("standard(subset=first)", "standard(subset=first)"),
        ("standard(heads=full)", "standard"),
        ("standard(heads=quick)", "standard(heads=quick)"),
    ],
)
def test_protocols(text: str, canonical: str) -> None:
    assert plan.make(encoders=["a"], datasets=["b"], protocol=text).protocol == canonical
    assert protocols.subset_rule(canonical) == ("first" if "first" in text else "balanced")


@pytest.mark.parametrize(
    "text",
    [
        "paper2",
        "standard(subset=last)",
        "standard(first=true)",
        "standard:first",
        "standard(subset=[first])",
        "standard(heads=slow)",
        "paper(heads=quick)",
    ],
)
def test_protocols_that_are_none_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError):
        plan.make(encoders=["a"], datasets=["b"], protocol=text)


def test_a_run_measures_them_and_says_so(tmp_path: Path, brittle: Run) -> None:
    for label in "abcd":
        for place in range(5):
            for split in ("train", "val", "test"):
                path = tmp_path / "data" / split / label / f"{split}{place}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (60 * "abcd".index(label), 9 * place, 3)).save(path)
    for protocol, words in (
        ("standard", "4 of 20 images drawn by name, balanced over classes"),
        ("standard(subset=first)", "the first 4 of 20 images"),
    ):
        common = ("-e", "pixels(size=8)", "-d", f"folder:{tmp_path / 'data'}", "-a", "noise", "--limit", 4)
        code, out, _ = brittle("run", *common, "--protocol", protocol, "--output-dir", tmp_path / "run")
        assert code == 0
        assert words in " ".join(out.split())
    clean = {result.cell.protocol: result for result in read_run(tmp_path / "run") if result.cell.attack is None}
    assert {len({result.image_ids_sha256 for result in clean.values()}), len(clean)} == {2}
    assert clean["standard"].id != clean["standard(subset=first)"].id
