"""Relative depth: the scale and shift by hand, held fixed while an attack goes on, and no weaker than without."""

import pytest
import torch
from torch import nn

import brittle
from brittle.tasks.depth import depth
from brittle.tasks.parts import alignment
from brittle.types import Batch, Frame, Model, Network

METRES = ("metres", "per_pixel")


def maps(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows).view(len(rows), 1, 1, -1)


def test_least_squares_by_hand() -> None:
    """Of (0, 1), (1, 3), (2, 2): slope .5, intercept 1.5; the fourth pixel has no truth."""
    seen, sought = maps([0.0, 1.0, 2.0, 9.0]), maps([1.0, 3.0, 2.0, 0.0])
    valid = maps([1.0, 1.0, 1.0, 0.0]) > 0
    scale, shift = alignment.lstsq(seen, sought, valid)
    assert scale.tolist() == pytest.approx([0.5])
    assert shift.tolist() == pytest.approx([1.5])


def test_least_squares_as_torch_solves_it() -> None:
    draw = torch.Generator().manual_seed(0)
    seen, sought = (torch.rand(3, 1, 8, 9, generator=draw) for _ in range(2))
    valid = torch.rand(3, 1, 8, 9, generator=draw) > 0.3
    scale, shift = alignment.lstsq(seen, sought, valid)
    for i in range(3):
        x, y = (each[i][valid[i]].double() for each in (seen, sought))
        right = torch.linalg.lstsq(torch.stack([x, torch.ones_like(x)], 1), y[:, None]).solution.flatten()
        assert [float(scale[i]), float(shift[i])] == pytest.approx(right.tolist(), abs=1e-9)


def test_medians_by_hand() -> None:
    scale, shift = alignment.median(maps([1.0, 2.0, 4.0, 9.0]), maps([2.0, 6.0, 8.0, 0.0]), maps([1.0, 1, 1, 0]) > 0)
    assert (scale.tolist(), shift.tolist()) == ([3.0], [0.0])


@pytest.mark.parametrize("find", [alignment.lstsq, alignment.median])
def test_nothing_to_align_by(find) -> None:
    """One number everywhere, zeros, and no valid pixel at all: numbers, and no more."""
    seen, sought = maps([2.0, 2.0], [0.0, 0.0], [1.0, 2.0]), maps([1.0, 3.0], [1.0, 3.0], [1.0, 3.0])
    valid = maps([1.0, 1.0], [1.0, 1.0], [0.0, 0.0]) > 0
    for each in find(seen, sought, valid):
        assert each.isfinite().all()


class Map(nn.Module):
    """The grey value, scaled: inverse depth of a world that is dark where it is far."""

    def __init__(self, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scale * images.mean(1, keepdim=True) + self.shift


def network(unit: str, **more) -> Network:
    return Network(Map(**more), METRES, Frame(), about={"source": "model:map"}, unit=unit)  # type: ignore[arg-type]


def batch(target: torch.Tensor, images: torch.Tensor) -> Batch:
    return Batch(images, target, [str(i) for i in range(len(images))])


def test_inverse_depth_by_hand() -> None:
    """1, 2 and 4 metres are inverse depths of 1, .5 and .25; the network says 3 times those less 1."""
    truth = maps([1.0, 2.0, 4.0])
    grey = torch.tensor([1.0, 0.5, 0.25]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    task = depth().seen_from("inverse", "lstsq")
    model = Model(task, network("inverse", scale=3.0, shift=-1.0))
    target = task.target_of(model, batch(truth, grey), True)
    assert target[0, 1:, 0, 0].tolist() == pytest.approx([1 / 3, 1 / 3])
    score = task.score(model(grey), target)
    assert score["rmse"].item() == pytest.approx(0, abs=1e-6)
    changed = task.score(model(grey + torch.tensor([0.0, 0.0, 0.25])), target)  # the last pixel is seen at 2 metres
    assert changed["rmse"].item() == pytest.approx((4 / 3) ** 0.5, rel=1e-5)
    assert changed["delta1"].item() == pytest.approx(2 / 3)
    assert 0 < changed["again"].item() < changed["rmse"].item()


def test_relative_depth_and_medians_by_hand() -> None:
    truth, grey = maps([1.0, 2.0, 3.0]), torch.tensor([0.1, 0.2, 0.3]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    for align, wanted in (("lstsq", [10.0, 0.0]), ("median", [10.0, 0.0])):
        task = depth().seen_from("relative", align)
        model = Model(task, network("relative"))
        target = task.target_of(model, batch(truth, grey), False)
        assert target[0, 1:, 0, 0].tolist() == pytest.approx(wanted, abs=1e-5)
        assert task.score(model(grey), target)["rmse"].item() == pytest.approx(0, abs=1e-5)


def test_what_lies_behind_the_camera_is_as_far_as_anything() -> None:
    task = depth(max_depth=8.0).seen_from("inverse", "lstsq")
    target = torch.cat([maps([4.0]), maps([1.0]), maps([0.0])], 1)
    seen, _, _ = task.metres(maps([-3.0]), target)
    assert seen.item() == pytest.approx(8.0)


def test_depth_in_metres_is_scored_as_ever() -> None:
    task = depth()
    assert task.seen_from("metres", "lstsq") is task
    assert "rmse_again" not in task.summarise({key: value.sum(0) for key, value in _scored(task).items()})


def _scored(task) -> dict[str, torch.Tensor]:
    return dict(task.score(maps([1.0, 2.0]), maps([1.0, 3.0])))


class Convolved(nn.Module):
    """A small network with random weights whose map hangs on more than one pixel."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 1, 5, padding=2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images) + images.mean(1, keepdim=True)


@pytest.mark.parametrize("unit", ["inverse", "relative"])
def test_an_attack_that_knows_the_alignment_is_no_weaker(unit) -> None:
    """Against one that climbs the raw map, and one whose alignment is found again at each step: scored alike."""
    data = brittle.load_dataset("scenes", "test")
    samples = [data[i] for i in range(6)]
    images = torch.stack([sample.image.float() / 255 for sample in samples])
    truth = torch.stack([sample.targets["depth"] for sample in samples])
    whole = Network(Convolved(), METRES, Frame(), about={"source": "model:conv"}, unit=unit)
    task = depth().seen_from(unit, "lstsq")
    model = Model(task, whole)
    target = task.target_of(model, batch(truth, images), True)

    def aligned_anew(given: torch.Tensor) -> torch.Tensor:
        raw = whole(given)
        return task.metres(raw, task._aligned(raw, truth))[0]  # type: ignore[attr-defined]

    def rmse(attacked: torch.Tensor) -> float:
        return float(task.score(model(attacked), target)["rmse"].mean())

    how = {"task": "depth", "attack": "apgd(objective=mse, steps=20, keep=score)"}
    own = rmse(brittle.attack(whole, images, truth, **how))
    assert own > rmse(images)
    assert own >= rmse(brittle.attack(whole.forward, images, truth, **how)) - 1e-4
    assert own >= rmse(brittle.attack(aligned_anew, images, truth, **how)) - 1e-4


def test_windows_and_parts_of_a_batch_keep_their_own_alignment() -> None:
    truth = torch.rand(3, 1, 8, 8) + 0.5
    images = torch.rand(3, 3, 8, 8)
    task = depth().seen_from("inverse", "lstsq")
    model = Model(task, network("inverse"))
    whole = task.target_of(model, batch(truth, images), True)
    parts = [task.target_of(model, batch(truth, images).rows([i]), True) for i in (2, 0)]
    assert torch.allclose(torch.cat(parts), whole[[2, 0]])
