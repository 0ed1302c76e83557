"""What targets show when each is looked at."""

import pytest
import torch

from brittle.core import components
from brittle.core.errors import UsageError
from brittle.types.seen import Seen
from brittle.types.target import MASK, VOID, void_mark

DEPTH = components.build("tasks", "depth")
SEGMENT = components.build("tasks", "segmentation")


def test_depth_that_is_not_scored_is_a_share_with_a_remedy() -> None:
    seen = Seen(DEPTH, ())
    seen.add(torch.tensor([[[0.0, 6.0, 8.0, 20.0, 60.0, float("nan"), -1.0]]]))
    (found,) = seen.of_depth()
    assert (found.verdict, found.value) == ("warn", 0.5)
    assert found.why == "50.0% of the depth (6 to 60 m) is not scored; say depth(max_depth=60)"
    seen.require_some("x")


def test_depth_of_which_nothing_is_scored_is_refused() -> None:
    seen = Seen(DEPTH, ())
    seen.require_some("x")
    seen.add(torch.zeros(1, 2, 2))
    seen.require_some("all void is another matter")
    seen.add(torch.full((1, 2, 2), 600.0))
    with pytest.raises(
        UsageError, match=r"x: depth scores none of its depth, 600 to 600 m; say depth\(max_depth=600\)"
    ):
        seen.require_some("x")


@pytest.mark.parametrize(("most", "verdicts"), [(0.255, ["warn"]), (0.4, []), (10.0, [])])
def test_depth_that_ends_before_an_arm_is_doubted(most: float, verdicts: list[str]) -> None:
    seen = Seen(DEPTH, ())
    seen.add(torch.tensor([[[0.01, most]]]))
    assert [finding.verdict for finding in seen.of_depth()] == verdicts


@pytest.mark.parametrize(
    ("names", "mask", "said"),
    [
        (["no", "yes"], [0, 255], "'yes' of 2 classes occur in no split; 255 in the masks is void"),
        (["0"], [0, 255], "there is only one class; 255 in the masks is void"),
        (["a", "b", "c"], [0, 2], "'b' of 3 classes occur in no split; check the names"),
        (["a", "b"], [0, 1, 255], ""),
        (["a", "b"], [0, 1], ""),
    ],
)
def test_a_class_that_void_may_stand_for_is_a_failed_check(names: list[str], mask: list[int], said: str) -> None:
    seen = Seen(SEGMENT, names)
    seen.add(MASK.scored(torch.tensor([mask]), len(names)))
    found = seen.of_classes()
    assert [finding.why.startswith(said) for finding in found] == [True] * bool(said)
    assert [finding.verdict for finding in found] == (["fail" if 255 in mask else "warn"] if said else [])


def test_what_other_splits_show_counts() -> None:
    seen, other = Seen(SEGMENT, ["a", "b"]), Seen(SEGMENT, ["a", "b"])
    seen.add(torch.tensor([[0, VOID]]))
    other.add(torch.tensor([[1]]))
    seen.join(other)
    assert seen.of_classes() == []


def test_void_is_a_number_of_its_own() -> None:
    """With 300 classes 255 is one of them."""
    mask = torch.tensor([0, 255, 299, 65535])
    assert MASK.scored(mask, 300).tolist() == [0, 255, 299, VOID]
    assert MASK.scored(mask, 255).tolist() == [0, VOID, 299, 65535]
    assert [void_mark(count) for count in (1, 255, 256, 1000)] == [255, 255, 65535, 65535]
    assert MASK.foreign(torch.tensor([VOID]), 10) is None
    assert MASK.foreign(torch.tensor([255]), 10) == 255
    assert MASK.foreign(torch.tensor([-1]), 10) == -1
