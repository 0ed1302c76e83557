"""A row for each image, or each class, of each cell: its own score, and that of its clean self."""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brittle.core.records import Result
from brittle.evaluation.intervals import wilson
from brittle.results.per_image import spreads
from brittle.results.store import Store

Brittle = Callable[..., tuple[int, str, str]]
Make = Callable[..., Result]
MASKS = {"name": "segmentation", "headline": "miou", "higher_is_better": True, "attack": "segpgd"}


def put(folder: Path, result: Result, ids: list[str], **samples: Any) -> None:
    stream = io.BytesIO()
    extra = {"damage": np.zeros(len(ids)), "violation": np.zeros(len(ids))}
    np.savez(stream, ids=np.array(ids), **extra, **{name: np.array(value) for name, value in samples.items()})
    Store(folder).put(result, stream.getvalue())


def rows(brittle: Brittle, folder: Path) -> list[dict[str, str]]:
    code, out, err = brittle("report", folder, "--format", "csv", "--per-image")
    assert code == 0, err
    return list(csv.DictReader(io.StringIO(out)))


def test_each_image_stands_beside_its_clean_one(tmp_path: Path, result_of: Make, brittle: Brittle) -> None:
    put(tmp_path, result_of("b" * 20, attack="pgd(steps=3)"), ["y", "x", "new"], correct=[1, 0, 0], images=[1, 1, 1])
    put(tmp_path, result_of("a" * 20), ["x", "y"], correct=[1, 0], images=[1, 1])
    put(tmp_path, result_of("c" * 20, encoder="pixels(size=4)"), ["x"], correct=[0], images=[1])
    made = rows(brittle, tmp_path)
    told = [(row["encoder"], row["attack"], row["image"], row["score"], row["clean_score"]) for row in made]
    assert told == [
        ("pixels(size=8)", "", "x", "1.0", "1.0"),
        ("pixels(size=8)", "", "y", "0.0", "0.0"),
        ("pixels(size=4)", "", "x", "0.0", "0.0"),
        ("pixels(size=8)", "pgd", "y", "1.0", "0.0"),
        ("pixels(size=8)", "pgd", "x", "0.0", "1.0"),
        ("pixels(size=8)", "pgd", "new", "0.0", ""),
    ]
    assert {row["metric"] for row in made} == {"accuracy"}
    assert (made[-1]["settings"], made[-1]["id"], made[-1]["norm"]) == ("steps=3", "b" * 20, "linf")


def test_a_mask_is_scored_by_the_classes_in_it(tmp_path: Path, result_of: Make, brittle: Brittle) -> None:
    """By hand: classes of 2 of 4 and 3 of 3 pixels give (1/2 + 1) / 2; an image of void alone has no score."""
    result = result_of("a" * 20, task=MASKS, metrics={"miou": 0.75})
    cell = result.cell.__class__(**{**result.cell.__dict__, "task": "segmentation"})
    result = result.__class__(**{**result.__dict__, "cell": cell})
    right, seen = [[2, 3], [0, 0]], [[3, 3], [0, 0]]
    put(
        tmp_path,
        result,
        ["a", "void"],
        intersection=right,
        predicted=seen,
        actual=seen,
        miou_images=[0.75, 0.0],
        images=[1, 0],
    )
    assert [row["score"] for row in rows(brittle, tmp_path)] == ["0.75", ""]


def test_data_or_weights_of_another_kind_are_no_partner(tmp_path: Path, result_of: Make, brittle: Brittle) -> None:
    put(tmp_path, result_of("a" * 20, made_by={"data_sha256": "1"}), ["x"], correct=[1], images=[1])
    attacked = result_of("b" * 20, attack="pgd", made_by={"data_sha256": "2"})
    put(tmp_path, attacked, ["x"], correct=[0], images=[1])
    assert [row["clean_score"] for row in rows(brittle, tmp_path)] == ["1.0", ""]


def test_what_has_no_samples_is_said(tmp_path: Path, result_of: Make, brittle: Brittle) -> None:
    Store(tmp_path).put(result_of("a" * 20), b"")
    code, out, err = brittle("report", tmp_path, "--format", "csv", "--per-image")
    assert (code, len(out.split())) == (0, 1)
    assert "left out: pixels(size=8)" in err


@pytest.mark.parametrize("name", ["md", "json"])
@pytest.mark.parametrize(("option", "what"), [("--per-image", "images"), ("--per-class", "classes")])
def test_other_reports_have_no_such_rows(
    tmp_path: Path, result_of: Make, brittle: Brittle, name: str, option: str, what: str
) -> None:
    Store(tmp_path).put(result_of("a" * 20), b"")
    code, _, err = brittle("report", tmp_path, "--format", name, option)
    assert (code, f"{name} has no rows for {what}; take --format csv" in err) == (2, True)
    code, _, err = brittle("report", tmp_path, "--format", name, "--per-image", "--per-class")
    assert (code, "leave one out" in err) == (2, True)


# --- classes ----------------------------------------------------------------------------------------------------------

NAMES = ["crane", "crane", "never seen", "=cmd"]  # two of one name, as ImageNet has


def labelled(folder: Path, result: Result, correct: list[int], label: list[int]) -> None:
    ids = [f"{place}" for place in range(len(label))]
    put(folder, result, ids, correct=correct, images=[1] * len(label), label=label, classes=NAMES)


def test_each_class_stands_beside_itself_when_clean(tmp_path: Path, result_of: Make, brittle: Brittle) -> None:
    """By hand: of class 0 two of two images are right, of class 1 one of two; class 2 has none; Wilson's 1 of 2."""
    labelled(tmp_path, result_of("a" * 20), [1, 1, 0, 1, 1], [0, 0, 1, 1, 3])
    labelled(tmp_path, result_of("b" * 20, attack="pgd"), [1, 0, 0, 0, 0], [0, 0, 1, 1, 3])
    code, out, err = brittle("report", tmp_path, "--format", "csv", "--per-class")
    assert code == 0, err
    made = list(csv.DictReader(io.StringIO(out)))
    told = [(row["attack"], row["class"], row["class_name"], row["score"], row["clean_score"]) for row in made]
    assert told == [
        ("", "0", "crane", "1.0", "1.0"),
        ("", "1", "crane", "0.5", "0.5"),
        ("", "3", "'=cmd", "1.0", "1.0"),
        ("pgd", "0", "crane", "0.5", "1.0"),
        ("pgd", "1", "crane", "0.0", "0.5"),
        ("pgd", "3", "'=cmd", "0.0", "1.0"),
    ]
    assert (float(made[1]["low"]), float(made[1]["high"])) == pytest.approx((0.0945, 0.9055), abs=1e-4)


def test_what_has_no_classes_is_said(tmp_path: Path, result_of: Make, brittle: Brittle) -> None:
    """As what an older version measured, which kept no labels."""
    labelled(tmp_path, result_of("a" * 20), [1], [0])
    put(tmp_path, result_of("b" * 20, attack="pgd"), ["0"], correct=[1], images=[1])
    code, out, err = brittle("report", tmp_path, "--format", "csv", "--per-class")
    assert (code, len(list(csv.DictReader(io.StringIO(out)))), "1 of 2 cells, which have no classes" in err) == (
        0,
        1,
        True,
    )


def test_the_classes_of_several_seeds_are_their_mean(tmp_path: Path, result_of: Make) -> None:
    labelled(tmp_path, result_of("a" * 20), [1, 1], [0, 1])
    labelled(tmp_path, result_of("b" * 20), [1, 0], [0, 1])
    both = result_of("a" * 20, made_by={"ids": ["a" * 20, "b" * 20]})
    found = spreads([tmp_path])
    assert [(each.place, each.value) for each in found(both).classes] == [(0, 1.0), (1, 0.5)]
    assert found(both).classes[1][3:] == pytest.approx(wilson(0.5, 1)), "two seeds of one image are one image"
    assert [each.value for each in found(result_of("b" * 20)).classes] == [1.0, 0.0]
    assert found(both).images == [], "each is right or wrong"


def test_masks_have_their_images_and_classes(tmp_path: Path, result_of: Make) -> None:
    """The same masks as above: mIoU .75 and none; IoU 1/2 and 1 without an interval; the third class is in none."""
    result = result_of("a" * 20, task=MASKS, metrics={"miou": 0.75})
    result = replace(result, cell=replace(result.cell, task="segmentation"))
    right, seen = [[2, 3, 0], [0, 0, 0]], [[3, 3, 0], [0, 0, 0]]
    put(
        tmp_path,
        result,
        ["a", "void"],
        intersection=right,
        predicted=seen,
        actual=seen,
        images=[1, 0],
        classes=NAMES[1:],
    )
    found = spreads([tmp_path])(result)
    assert found.images == [0.75]
    assert [(each.name, each.value) for each in found.classes] == [("crane", 0.5), ("never seen", 1.0)]
    assert all(math.isnan(each.low) for each in found.classes)


def test_what_lacks_samples_or_classes_has_none(tmp_path: Path, result_of: Make) -> None:
    Store(tmp_path).put(result_of("a" * 20), b"")
    put(tmp_path, result_of("b" * 20), ["x"], correct=[1], images=[1])
    gone = replace(result_of("b" * 20), cell=replace(result_of("b" * 20).cell, task="gone"))
    for result in (result_of("a" * 20), result_of("b" * 20), result_of("c" * 20)):
        assert not any(spreads([tmp_path])(result))
    assert not any(spreads([tmp_path])(gone))
