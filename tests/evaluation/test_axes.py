"""Principal axes: they are those of the features, weights come back from them as they went, and a fit along them takes
fewer steps."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from brittle.core import components
from brittle.core.errors import CellError
from brittle.evaluation import looks, probe
from brittle.evaluation.axes import CELLS, Axes
from brittle.evaluation.recomputed import Recomputed
from brittle.tasks.parts.standardised import Standardised
from brittle.types import Batch, Features, LabelFree

DIM, CLASSES, WIDE = 8, 3, 32
QUICK = replace(probe.STANDARD, steps=200, epochs=1, patience=0, rates=(1e-2,))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


MIX = torch.randn(DIM, DIM, generator=generator(5), dtype=torch.float64)


def rows(count: int, seed: int, edge: int = 4) -> list[tuple[Features, torch.Tensor]]:
    """Features whose channels go together, in batches, one of them of a single image."""
    grid = torch.einsum("dk,bkhw->bdhw", MIX, torch.randn(count, DIM, edge, edge, generator=generator(seed)).double())
    grid = (grid + 3).float()
    target = torch.zeros(count, 8 * edge, 8 * edge, dtype=torch.long)
    return [(Features(grid.mean((2, 3))[part], grid[part]), target[part]) for part in (slice(1), slice(1, None))]


def labelled(count: int) -> list[tuple[Features, torch.Tensor]]:
    features, target = rows(count, 1)[1]
    return [(features, torch.randint_like(target, CLASSES, generator=generator(3)))]


def found(weights: dict[str, float], edge: int = 4) -> tuple[Axes, Standardised]:
    task = components.build("tasks", "segmentation")
    axes, module = Axes(weights), Standardised(task.head(DIM, CLASSES), DIM, task.reads)
    assert module.measure(axes.watched(rows(400, 0, edge))) == 400
    axes.find(module)
    return axes, module


@pytest.mark.parametrize("power", [0.0, 0.25])
def test_along_the_axes_features_do_not_go_together(power: float) -> None:
    axes, module = found({"classify.weight": power})
    # a head that passes on what each axis says: the identity along the axes
    identity = {"classify.weight": torch.eye(DIM).view(1, DIM, DIM, 1, 1)}
    along = axes.along_channels(identity)["classify.weight"][0, :, :, 0, 0].double()
    seen = torch.cat([module.standardise(features).grid for features, _ in rows(400, 0)])
    said = along @ seen.double().transpose(0, 1).flatten(1)
    spread = said @ said.T / said.shape[1]
    variance = spread.diagonal()
    torch.testing.assert_close(spread, variance.diag(), atol=1e-4, rtol=0)
    # an axis of variance v is held back by v ** power, so that what it says has v ** (1 + 2 * power)
    expected = torch.linalg.eigvalsh(seen.transpose(0, 1).flatten(1).double().corrcoef()) ** (1 + 2 * power)
    torch.testing.assert_close(variance, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("columns", [DIM, 2 * DIM])
@pytest.mark.parametrize("power", [0.0, 0.25])
def test_weights_come_back_as_they_went_and_others_are_let_alone(power: float, columns: int) -> None:
    axes, _ = found({"classify.weight": power})
    weights = {
        "classify.weight": torch.randn(5, CLASSES, columns, 1, 1, generator=generator(1)),
        "classify.bias": torch.randn(5, CLASSES, generator=generator(2)),
    }
    there = axes.along_axes(weights)
    assert not torch.allclose(there["classify.weight"][:, :, :DIM], weights["classify.weight"][:, :, :DIM], atol=0.1)
    torch.testing.assert_close(there["classify.weight"][:, :, DIM:], weights["classify.weight"][:, :, DIM:])
    assert torch.equal(there["classify.bias"], weights["classify.bias"])
    back = axes.along_channels(there)
    torch.testing.assert_close(back["classify.weight"], weights["classify.weight"], atol=1e-5, rtol=1e-4)


def test_with_no_weights_named_nothing_is_turned_nor_counted() -> None:
    axes, _ = found({})
    weights = {"classify.weight": torch.randn(2, CLASSES, DIM, 1, 1)}
    assert axes.along_axes(weights)["classify.weight"] is weights["classify.weight"]
    assert axes.along_channels(weights)["classify.weight"] is weights["classify.weight"]


def test_wide_grids_are_left_along_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an encoder that passes pixels on has them, whose axes would take hours."""
    monkeypatch.setattr("brittle.evaluation.axes.WIDEST", DIM - 1)
    axes, _ = found({"classify.weight": 0.0})
    weights = {"classify.weight": torch.randn(2, CLASSES, DIM, 1, 1)}
    assert axes.along_axes(weights)["classify.weight"] is weights["classify.weight"]
    monkeypatch.setattr("brittle.evaluation.axes.WIDEST", DIM)
    axes, _ = found({"classify.weight": 0.0})
    assert axes.along_axes(weights)["classify.weight"] is not weights["classify.weight"]


def test_of_large_grids_some_cells_are_counted_from_all_over() -> None:
    assert CELLS < 9 * 9
    weights = {"classify.weight": torch.eye(DIM).view(1, DIM, DIM, 1, 1)}
    large, small = (
        found({"classify.weight": 0.0}, edge)[0].along_channels(weights)["classify.weight"] for edge in (9, 4)
    )
    alike = (large.flatten(1).view(DIM, DIM) @ small.flatten(1).view(DIM, DIM).T).abs().diagonal()
    assert (alike > 0.9).all(), "the same distribution has the same axes, up to noise and sign"


def spread_out(count: int, seed: int) -> list[tuple[Features, torch.Tensor]]:
    """Three classes that all axes tell alike, the smallest of which has a thousandth of the largest one's variance."""
    turn = torch.linalg.qr(torch.randn(WIDE, WIDE, generator=generator(7)))[0] * torch.logspace(0, -1.5, WIDE)
    told = torch.randn(count, WIDE, 4, 4, generator=generator(seed))
    label = torch.einsum("ck,bkhw->bchw", torch.randn(CLASSES, WIDE, generator=generator(8)), told).argmax(1)
    grid = torch.einsum("dk,bkhw->bdhw", turn, told)
    return [(Features(grid.mean((2, 3)), grid), label.repeat_interleave(8, 1).repeat_interleave(8, 2))]


def test_what_small_axes_tell_is_learnt_in_fewer_steps() -> None:
    task = components.build("tasks", "segmentation")
    train, val = spread_out(128, 0), spread_out(32, 10)

    def score(steps: int) -> float:
        head = probe.fit(task, WIDE, 8, CLASSES, train, val, recipe=replace(QUICK, steps=steps, rates=(3e-2,)))
        return looks.evaluate(task, head, 8, val)

    along_axes = score(200)
    task.on_cells = {}
    along_channels, longer = score(200), score(2000)
    assert longer - along_axes < 0.5 * (longer - along_channels), (along_axes, along_channels, longer)


def test_channels_that_never_change_and_fewer_cells_than_channels_are_no_fault() -> None:
    task = components.build("tasks", "segmentation")
    few = [(Features(f.pooled[:1], f.grid[:1, :, :1, :2]), t[:1, :8, :16]) for f, t in labelled(3)]
    few[0][0].grid[:, 3:] = 7.0
    head = probe.fit(task, DIM, 8, CLASSES, few, few, recipe=replace(QUICK, steps=20))
    assert all(tensor.isfinite().all() for tensor in head.state_dict().values())


def test_features_without_a_number_are_said_of_the_head_not_of_the_axes() -> None:
    task, (features, _) = components.build("tasks", "depth"), rows(5, 0)[1]
    broken = [(features._replace(grid=features.grid * torch.nan), torch.full((4, 1, 32, 32), 2.0))]
    with pytest.raises(CellError, match="no depth head has a finite rmse"):
        probe.fit(task, DIM, 8, 0, broken, broken, recipe=replace(QUICK, steps=5))


def test_computed_features_are_gone_through_once_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    (features, target), asked = labelled(9)[0], list[int]()

    def seen(places: Sequence[int]) -> list[Batch]:
        asked.append(len(places))
        return [Batch(torch.zeros(len(places), 3, 32, 32), target[list(places)], [str(i) for i in places])]

    def look(batch: Batch) -> Features:
        places = [int(name) for name in batch.ids]
        return Features(features.pooled[places], features.grid[places])

    task = components.build("tasks", "segmentation")
    rows = Recomputed([str(i) for i in range(8)], seen, look)
    head = probe.fit(task, DIM, 8, CLASSES, rows, [(features, target)], recipe=replace(QUICK, steps=3, batch=4))
    assert asked.count(8) == 1
    kept = probe.fit(
        task, DIM, 8, CLASSES, [(features, target)], [(features, target)], recipe=replace(QUICK, steps=3, batch=4)
    )
    for one, other in zip(head.state_dict().values(), kept.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", components.names("tasks"))
def test_the_weights_that_a_task_names_are_those_that_read_the_grid(name: str) -> None:
    task = components.build("tasks", name)
    if isinstance(task, LabelFree):
        pytest.skip("it fits no head")
    head, (features, _) = task.head(DIM, CLASSES).eval(), rows(3, 0)[1]
    assert ("grid" in task.reads) == bool(task.on_cells)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, generator=generator(4))
    other = features._replace(grid=features.grid.flip(0) + 1)
    before = [head(each, (32, 32)) for each in (features, other)]
    for weights in task.on_cells:
        torch.nn.init.zeros_(head.get_parameter(weights)[:, :DIM])
    after = [head(each, (32, 32)) for each in (features, other)]
    assert [bool(torch.equal(*pair)) for pair in (before, after)] == [not task.on_cells, True]


@pytest.mark.parametrize("name", ["classify.wieght", "classify.bias", "few.weight"])
def test_a_weight_that_the_head_lacks_is_named(name: str) -> None:
    task = components.build("tasks", "segmentation")
    head = task.head(DIM, CLASSES)
    head.few = torch.nn.Conv2d(DIM - 1, 1, 1)
    axes, module = Axes({name: 0.0}), Standardised(head, DIM, task.reads)
    module.measure(axes.watched(rows(9, 0)))
    with pytest.raises(CellError, match=f"'{name}', no weight of the head over the 8 channels .* classify.weight"):
        axes.find(module)
