"""Random numbers belong to an image: who else is in the batch, and where, changes nothing."""

import torch

from brittle.types.rng import Rng

LIKE = torch.empty(3, 2, 4)


def test_draws_do_not_depend_on_the_batch() -> None:
    whole = Rng(5, ["a", "b", "c"])
    first, second = whole.uniform(LIKE), whole.normal(LIKE)
    for i, name in enumerate("abc"):
        alone = Rng(5, [name])
        assert torch.equal(alone.uniform(LIKE[:1]), first[i : i + 1])
        assert torch.equal(alone.normal(LIKE[:1]), second[i : i + 1])
    turned = Rng(5, ["c", "a", "b"])
    assert torch.equal(turned.uniform(LIKE), first[[2, 0, 1]])


def test_seed_and_name_both_decide() -> None:
    one = Rng(0, ["a"]).uniform(LIKE[:1])
    assert torch.equal(Rng(0, ["a"]).uniform(LIKE[:1]), one)
    assert not torch.equal(Rng(1, ["a"]).uniform(LIKE[:1]), one)
    assert not torch.equal(Rng(0, ["b"]).uniform(LIKE[:1]), one)
    assert not torch.equal(Rng(1, ["1"]).uniform(LIKE[:1]), Rng(11, [""]).uniform(LIKE[:1])), (
        "seed and name must not run together"
    )


def test_draws_go_on_and_do_not_touch_the_global_generator() -> None:
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    rng = Rng(0, ["a"])
    assert not torch.equal(rng.uniform(LIKE[:1]), rng.uniform(LIKE[:1]))
    assert torch.equal(torch.rand(3), wanted)
    torch.manual_seed(9)
    assert torch.equal(Rng(0, ["a"]).uniform(LIKE[:1]), Rng(0, ["a"]).uniform(LIKE[:1]))


def test_rows_share_their_generators() -> None:
    rng, other = Rng(0, ["a", "b", "c"]), Rng(0, ["a", "b", "c"])
    part = rng.rows(torch.tensor([2, 0]))
    assert len(part) == 2
    drawn = part.uniform(LIKE[:2])
    first, second = other.uniform(LIKE), other.uniform(LIKE)
    assert torch.equal(drawn, first[[2, 0]])
    then = rng.uniform(LIKE)
    assert torch.equal(then[[0, 2]], second[[0, 2]]), "a draw by a part is gone for the whole"
    assert torch.equal(then[1], first[1]), "and only for that part"


def test_shape_type_and_range() -> None:
    rng = Rng(0, [str(i) for i in range(3)])
    drawn = rng.uniform(torch.empty(3, 500, dtype=torch.float64))
    assert drawn.dtype == torch.float64
    assert drawn.shape == (3, 500)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.05
    assert abs(rng.normal(torch.empty(3, 500)).std() - 1) < 0.1
    assert Rng(0, []).uniform(torch.empty(0, 3)).shape == (0, 3)
