"""Kinds of target: what each takes, refuses and reads."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from brittle.core.errors import UsageError
from brittle.types.target import DEPTH, LABEL, MASK, STANDARD, VOID, has_shape

IMAGES = torch.zeros(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (LABEL, torch.zeros(2, 1, dtype=torch.long), r"labels are \[2, 1\]; they must be \[B\]"),
        (LABEL, torch.zeros(2), "labels are torch.float32; they must be whole numbers"),
        (LABEL, torch.zeros(3, dtype=torch.long), "3 targets for 2 images"),
        (LABEL, "ab", "labels are a str that makes no tensor"),
        (MASK, torch.zeros(2, 1, 4, 5, dtype=torch.long), r"squeeze\(1\) of"),
        (DEPTH, torch.zeros(2, 1, 4, 5, dtype=torch.long), "often millimetres"),
        (DEPTH, torch.zeros(2, 4, 5), r"depth maps are \[2, 4, 5\]"),
        (DEPTH, torch.zeros(2, 1, 4, 5, dtype=torch.complex64), "depth maps are torch.complex64"),
    ],
)
def test_a_target_of_another_kind_is_refused_in_one_line(kind, given, words) -> None:
    with pytest.raises(UsageError, match=words) as error:
        kind.taken(given, IMAGES)
    assert "\n" not in str(error.value)


def test_a_target_comes_in_its_own_type() -> None:
    assert LABEL.taken([1, 2], IMAGES).dtype == torch.long
    assert MASK.taken(np.zeros((2, 4, 5), np.uint8), IMAGES).dtype == torch.long
    assert DEPTH.taken(torch.ones(2, 1, 4, 5, dtype=torch.float64), IMAGES).dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "target", "classes", "words"),
    [
        (LABEL, torch.tensor(3), 3, "label 3 is none of the 3 classes"),
        (LABEL, torch.tensor(255), 3, "label 255"),  # a label has no void
        (MASK, torch.full((4, 5), -1), 3, "mask -1"),
        (MASK, torch.zeros(5, 4, dtype=torch.long), 3, "image and mask are 4x5 and 5x4"),
        (DEPTH, torch.ones(1, 4, 4), 0, "image and depth are 4x5 and 4x4"),
    ],
)
def test_a_target_that_does_not_fit_its_image_is_named(kind, target, classes, words) -> None:
    with pytest.raises(UsageError, match=rf"a/b\.png: .*{words}"):
        kind.inspect(target, (4, 5), classes, "a/b.png")


def test_void_is_no_class() -> None:
    MASK.inspect(MASK.scored(torch.full((4, 5), 255), 3), (4, 5), 3, "x")
    assert (MASK.void, DEPTH.void, LABEL.void) == (VOID, 0, None)
    assert [kind.dense for kind in STANDARD.values()] == [False, True, True]


def test_a_kind_may_have_a_check_of_its_own() -> None:
    near = replace(DEPTH, check=lambda depth: "is over 10 m" if depth.max() > 10 else "")
    near.inspect(torch.ones(1, 4, 5), (4, 5), 0, "x")
    with pytest.raises(UsageError, match="x: depth: is over 10 m"):
        near.inspect(torch.full((1, 4, 5), 11.0), (4, 5), 0, "x")


def test_files_are_read_as_their_kind(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 7], [255, 1]], np.uint8)).save(tmp_path / "mask.png")
    np.save(tmp_path / "depth.npy", np.array([[1.5, 0.0]]))
    assert MASK.read is not None
    assert DEPTH.read is not None
    assert MASK.read(tmp_path / "mask.png").tolist() == [[0, 7], [255, 1]]
    assert DEPTH.read(tmp_path / "depth.npy").tolist() == [[[1.5, 0.0]]]
    assert LABEL.read is None


def test_shapes() -> None:
    assert has_shape(torch.zeros(2, 1, 3, 4), "[B,1,H,W]")
    assert not has_shape(torch.zeros(2, 2, 3, 4), "[B,1,H,W]")
    assert not has_shape(torch.zeros(2, 3), "[B]")
