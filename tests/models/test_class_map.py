"""Which output stands for which class: by what the user says, by names, by number, or one line."""

import pytest
import torch
from torch import nn

from brittle.core.errors import UsageError
from brittle.models.parts.class_map import by_number, imagenet, outputs_of, with_synsets
from brittle.types import Frame, Network
from brittle.types.network import Logits

MASKS = ("classes", "per_pixel")


class Steps(nn.Module):
    """Output i is i everywhere."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        steps = torch.arange(self.outputs, dtype=images.dtype).view(1, -1, 1, 1)
        return steps + 0 * images.mean((1, 2, 3)).view(-1, 1, 1, 1)


def network(*names: str, outputs: int = 0, **settings) -> Network:
    body = Steps(outputs or len(names))
    return Network(body, MASKS, Frame(8), about={"source": "model:x"}, logits=Logits(names, **settings))


@pytest.mark.parametrize(
    ("outputs", "classes", "wanted"),
    [
        (("wall", "floor", "sky"), ("wall", "floor", "sky"), ()),
        (("background", "wall", "floor"), ("wall", "floor"), (1, 2)),
        (("floor", "wall"), ("wall", "floor"), (1, 0)),
        (("wall, partition", "traffic light"), ("Wall", "traffic_light"), ()),
        (("n01 , tench", "n02, goldfish, fish"), ("goldfish",), (1,)),
        (("wall", "buildings", "sky"), ("wall", "building", "sky"), ()),  # as many, and most of them alike
        (("a", "b", "c"), ("x", "y", "z"), ()),  # as many, and none alike: by number
        ((), ("wall", "floor"), ()),
    ],
    ids=["same", "background", "order", "spelling", "synonyms", "most", "number", "nameless"],
)
def test_by_names(outputs, classes, wanted) -> None:
    assert outputs_of(network(*outputs, outputs=3), classes, "data") == wanted


@pytest.mark.parametrize(
    ("outputs", "classes"),
    [
        (("background", "wall", "floor"), ("wall", "ceiling")),
        (("wall", "floor", "sky"), ("sky", "wall", "lamp")),  # as many, in another order, and one of them unknown
        (("crane", "crane", "x"), ("crane",)),  # the bird or the machine
        (("a", "b"), ("a", "b", "c")),
    ],
)
def test_what_does_not_match(outputs, classes) -> None:
    with pytest.raises(UsageError, match=r"do not match by name .*; say which output each class is with classes="):
        outputs_of(network(*outputs), classes, "data")


def test_what_is_matched_by_number_is_said() -> None:
    assert by_number(network("a", "b"), ("a", "b")) == ""
    assert by_number(network("b", "a"), ("a", "b")) == ""
    assert by_number(network("background", "a", "b"), ("a", "b")) == ""
    assert by_number(network("a", "b", "x"), ("a", "b", "c")) == "classes by number, as 2 of 3 have the same name"
    assert by_number(network("x", "y"), ("a", "b")) == "classes by number, as 0 of 2 have the same name"
    assert by_number(network(outputs=2), ("a", "b")) == "classes by number, as the network names none"
    assert by_number(network(outputs=2, order=(1, 0)), ("a", "b")) == ""


def test_by_what_the_user_says() -> None:
    assert outputs_of(network(outputs=4, order=(3, 0)), ("x", "y"), "data") == (3, 0)
    assert outputs_of(network(outputs=4, first=1), ("x", "y"), "data") == (1, 2)
    with pytest.raises(UsageError, match="are 3, data has 2"):
        outputs_of(network(outputs=4, order=(1, 2, 3)), ("x", "y"), "data")
    with pytest.raises(UsageError, match="there is no output 3; it has outputs 0 to 2"):
        outputs_of(network("a", "b", "c", first=2), ("x", "y"), "data")


def test_the_outputs_that_are_given() -> None:
    images = torch.rand(2, 3, 8, 8)
    given = network(outputs=4)
    assert given(images)[0, :, 0, 0].tolist() == [0, 1, 2, 3]
    given.outputs, given.count = (3, 1), 2
    assert given(images)[0, :, 0, 0].tolist() == [3, 1]
    given.outputs, given.count = (), 3
    with pytest.raises(UsageError, match="has 4 outputs, and 3 classes is wanted; say which output each class is"):
        given(images)
    given.outputs, given.count = (3, 4), 2
    with pytest.raises(UsageError, match="has 4 outputs, and output 4 is wanted"):
        given(images)


def test_without_a_data_set_the_user_is_believed() -> None:
    images = torch.rand(1, 3, 8, 8)
    assert network(outputs=4, first=1)(images)[0, :, 0, 0].tolist() == [1, 2, 3]
    assert network(outputs=4, order=(2, 0))(images)[0, :, 0, 0].tolist() == [2, 0]


def test_imagenet_by_synset_and_by_name() -> None:
    names = imagenet()
    assert len(names) == 1000
    body = network(*names)
    assert outputs_of(body, ("n01443537", "n01440764"), "data") == (1, 0)
    assert outputs_of(body, ("goldfish", "tench"), "data") == (1, 0)
    assert with_synsets([f"LABEL_{i}" for i in range(1000)]) == names
    assert with_synsets([f"LABEL_{i}" for i in range(7)]) == ()
    assert with_synsets(["wall", "floor"]) == ("wall", "floor")
    own = with_synsets([f"name {i}" for i in range(1000)])
    assert own[1] == "n01443537, name 1"
