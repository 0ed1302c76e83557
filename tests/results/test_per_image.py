"""A row for each image of each cell: its own score, and that of its clean image."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brittle.core.records import Result
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
def test_other_reports_have_no_rows_for_images(tmp_path: Path, result_of: Make, brittle: Brittle, name: str) -> None:
    Store(tmp_path).put(result_of("a" * 20), b"")
    code, _, err = brittle("report", tmp_path, "--format", name, "--per-image")
    assert (code, f"{name} has no rows for images; take --format csv" in err) == (2, True)
