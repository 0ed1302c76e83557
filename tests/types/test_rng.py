"""Random numbers belong to an image: who else is in the batch, and where, changes nothing."""

import pytest
import torch

from brittle.types import rng as streams
from brittle.types.rng import Rng, philox, seed_of

LIKE = torch.empty(3, 2, 4)


KNOWN = {
    (0, 0, 0, 0): ((0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (0xFFFFFFFF,) * 4: ((0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344): (
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
}
"""Counters to keys and words of Philox4x32-10, from the known answers of Random123 (Salmon et al. 2011)."""


@pytest.mark.parametrize("counter", KNOWN)
def test_philox_gives_the_published_words(counter: tuple[int, int, int, int]) -> None:
    key, words = KNOWN[counter]
    a, b, c, d = (torch.tensor([word]) for word in counter)
    assert (
        tuple(word.item() for word in philox((a, b, c, d), (torch.tensor([key[0]]), torch.tensor([key[1]])))) == words
    )


def test_the_counter_is_the_place_and_the_draw_and_the_key_is_the_image() -> None:
    rng, seed = Rng(7, ["a"]), seed_of(7, "a")
    rng.normal(LIKE[:1])
    second = rng.uniform(torch.empty(1, 6))
    zero, key = torch.tensor([0]), (torch.tensor([seed & 0xFFFFFFFF]), torch.tensor([seed >> 32]))
    words = [word.item() for place in range(2) for word in philox((torch.tensor([place]), zero + 1, zero, zero), key)]
    assert second[0].tolist() == [(word >> 8) / 2**24 for word in words[:6]]


def test_large_draws_are_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Rng(0, ["a", "b", "c"]).normal(LIKE)
    monkeypatch.setattr(streams, "AT_ONCE", 1)
    assert torch.equal(Rng(0, ["a", "b", "c"]).normal(LIKE), whole)


def test_the_first_version_is_that_of_torch_generators() -> None:
    rng, own = Rng(3, ["x", "y"], 1), torch.Generator().manual_seed(seed_of(3, "y"))
    drawn = rng.uniform(LIKE[:2]), rng.normal(LIKE[:2])
    assert torch.equal(drawn[0][1], torch.rand(2, 4, generator=own))
    assert torch.equal(drawn[1][1], torch.randn(2, 4, generator=own))
    assert torch.equal(rng.again().uniform(LIKE[:2]), drawn[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_same_bits_on_a_gpu() -> None:
    like = torch.empty(3, 2**16)
    here, there = Rng(0, ["a", "b", "c"]), Rng(0, ["a", "b", "c"])
    assert torch.equal(here.uniform(like), there.uniform(like.cuda()).cpu())
    assert (here.normal(like) != there.normal(like.cuda()).cpu()).float().mean() < 1e-5


def test_laws() -> None:
    rng = Rng(0, [str(i) for i in range(4)])
    uniform, normal = (law(torch.empty(4, 2**16)).double() for law in (rng.uniform, rng.normal))
    assert (torch.histc(uniform, 16, 0, 1) / uniform.numel() * 16 - 1).abs().max() < 0.03
    for power, moment in enumerate((0, 1, 0, 3), 1):
        assert abs((normal**power).mean() - moment) < 0.05
    shifted = (normal[:, 1:] * normal[:, :-1]).mean(), (uniform[0] - 0.5).dot(uniform[1] - 0.5) / 2**16
    assert max(map(abs, shifted)) < 0.01, "values are independent, and so are images"


@pytest.mark.parametrize("version", streams.VERSIONS)
def test_draws_do_not_depend_on_the_batch(version: int) -> None:
    whole = Rng(5, ["a", "b", "c"], version)
    first, second = whole.uniform(LIKE), whole.normal(LIKE)
    for i, name in enumerate("abc"):
        alone = Rng(5, [name], version)
        assert torch.equal(alone.uniform(LIKE[:1]), first[i : i + 1])
        assert torch.equal(alone.normal(LIKE[:1]), second[i : i + 1])
    turned = Rng(5, ["c", "a", "b"], version)
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


@pytest.mark.parametrize("version", streams.VERSIONS)
def test_rows_share_their_streams(version: int) -> None:
    rng, other = (Rng(0, ["a", "b", "c"], version) for _ in range(2))
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
