"""Every objective: one differentiable value an image, no memory between calls, no look at the neighbours."""

import pytest
import torch
from tiny import OBJECTIVES, need, tiny_batch, tiny_model

from brittle.core import components
from brittle.planning import sweep
from brittle.types import Batch, frozen

PAIRS = [
    (name, task)
    for name in components.names("objectives")
    for task in components.names("tasks")
    if not sweep.misfit("objectives", name, task)
]
pytestmark = pytest.mark.parametrize(("name", "task"), PAIRS)


@pytest.fixture
def cases(name, task):
    model, batch = tiny_model(task).double(), tiny_batch(task)
    batch = Batch(
        batch.images.double(), batch.target.double() if batch.target.is_floating_point() else batch.target, batch.ids
    )
    moved = (batch.images * 0.9 + 0.03).clamp(0, 1)
    with frozen(model):
        yield [(text, model, batch, moved) for text in need(OBJECTIVES, "objectives", name)]


@pytest.mark.parametrize("progress", [0.0, 0.7])
def test_one_differentiable_value_a_image(cases, progress) -> None:
    for text, model, batch, moved in cases:
        images = moved.clone().requires_grad_()
        loss = components.build("objectives", text, model, batch)(images, progress)
        assert loss.shape == (len(moved),), text
        assert loss.isfinite().all(), text
        (gradient,) = torch.autograd.grad(loss.sum(), images)
        assert gradient.isfinite().all(), text
        assert (gradient.flatten(1).abs().sum(1) > 0).all(), f"{text}: an image has no gradient"


def test_called_twice_it_gives_the_same_tensor(cases) -> None:
    for text, model, batch, moved in cases:
        objective = components.build("objectives", text, model, batch)
        first = objective(moved, 0.3)
        objective(moved.flip(3), 0.9)
        assert torch.equal(objective(moved, 0.3), first), f"{text} remembers its last call"


def test_rows_are_independent(cases) -> None:
    for text, model, batch, moved in cases:
        whole = components.build("objectives", text, model, batch)(moved, 0.3)
        for i in range(len(moved)):
            one = Batch(batch.images[i : i + 1], batch.target[i : i + 1], batch.ids[i : i + 1])
            alone = components.build("objectives", text, model, one)(moved[i : i + 1], 0.3)
            torch.testing.assert_close(alone, whole[i : i + 1], rtol=1e-9, atol=1e-12, msg=text)


def test_it_rises_along_its_gradient(cases, name) -> None:
    if name == "cospgd":
        pytest.skip("its weights are held fixed for the gradient")
    for text, model, batch, moved in cases:
        objective = components.build("objectives", text, model, batch)
        images = moved.clone().requires_grad_()
        before = objective(images, 0.3)
        (gradient,) = torch.autograd.grad(before.sum(), images)
        length = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        assert (objective(moved + 1e-5 * gradient / length, 0.3) > before).all(), text
