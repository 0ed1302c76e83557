"""Every attack on every task it fits, in every norm: inside the threat, the same for the same seed, blind to its
neighbours, tidy."""

import pytest
import torch
from tiny import ATTACKS, need, tiny_batch, tiny_model

from brittle.core import components
from brittle.core.tree import tree
from brittle.planning import sweep
from brittle.types import Batch, Model, frozen
from brittle.types.rng import Rng
from brittle.types.threat import Threat, length

PAIRS = [
    (name, task)
    for name in components.names("attacks")
    for task in components.names("tasks")
    if not need(ATTACKS, "attacks", name).given and not sweep.misfit("attacks", name, task)
]
BUDGETS = {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}
everywhere = pytest.mark.parametrize(("name", "task"), PAIRS)
every_norm = pytest.mark.parametrize("norm", BUDGETS)


def allowed(name: str, norm: str) -> Threat:
    return Threat(norm, BUDGETS[norm] * need(ATTACKS, "attacks", name).budgets)  # type: ignore[arg-type]


def attacked(name: str, model: Model, batch: Batch, threat: Threat, seed: int = 0, text: str = "") -> torch.Tensor:
    text = text or need(ATTACKS, "attacks", name).spec
    with frozen(model):
        return components.build("attacks", text, model, batch, threat, Rng(seed, batch.ids)).detach()


def double(model: Model, batch: Batch) -> tuple[Model, Batch]:
    target = batch.target.double() if batch.target.is_floating_point() else batch.target
    return model.double(), Batch(batch.images.double(), target, batch.ids)


@every_norm
@everywhere
def test_inside_the_threat_and_of_the_same_shape(name, task, norm) -> None:
    model, batch, threat = tiny_model(task), tiny_batch(task), allowed(name, norm)
    before = batch.images.clone()
    found = attacked(name, model, batch, threat)
    assert torch.equal(batch.images, before), "the clean images were written to"
    assert (found.shape, found.dtype) == (batch.images.shape, torch.float32)
    assert found.min() >= 0
    assert found.max() <= 1
    assert threat.violation(batch.images, found).max() <= 1e-6
    moved = length(found - batch.images, norm).max()
    assert moved > 0.5 * threat.eps or need(ATTACKS, "attacks", name).spares, "it uses less than half of its budget"
    with frozen(model), torch.no_grad():
        assert model(found).isfinite().all()


@every_norm
@everywhere
def test_the_seed_decides_and_nothing_else(name, task, norm) -> None:
    model, batch, threat = tiny_model(task), tiny_batch(task), allowed(name, norm)
    first = attacked(name, model, batch, threat, seed=3)
    torch.rand(7)
    assert torch.equal(attacked(name, model, batch, threat, seed=3), first)
    if need(ATTACKS, "attacks", name).random:
        other = attacked(name, model, batch, threat, seed=5)
        touched = [i for i, clean in enumerate(batch.images) if not torch.equal(first[i], clean)]
        assert touched
        assert all(not torch.equal(other[i], first[i]) for i in touched), (
            "only what is wrong from the start may be left as it is"
        )


@every_norm
@everywhere
def test_batch_size_order_and_position_do_not_matter(name, task, norm) -> None:
    if need(ATTACKS, "attacks", name).joint:
        pytest.skip("its images share one perturbation")
    model, batch = double(tiny_model(task), tiny_batch(task))  # in double, so that rounding turns no gradient's sign
    threat = allowed(name, norm)
    whole = attacked(name, model, batch, threat)
    order = [2, 0, 1]
    shuffled = Batch(batch.images[order], batch.target[order], tuple(batch.ids[i] for i in order))
    torch.testing.assert_close(attacked(name, model, shuffled, threat), whole[order], rtol=0, atol=1e-6)
    alone = Batch(batch.images[1:2], batch.target[1:2], batch.ids[1:2])
    torch.testing.assert_close(attacked(name, model, alone, threat), whole[1:2], rtol=0, atol=1e-6)


@every_norm
@everywhere
def test_no_budget_no_change(name, task, norm) -> None:
    batch = tiny_batch(task)
    assert torch.equal(attacked(name, tiny_model(task), batch, Threat(norm, 0.0)), batch.images)


@everywhere
def test_the_model_is_left_as_it_was(name, task) -> None:
    model, batch = tiny_model(task), tiny_batch(task)
    next(model.parameters()).requires_grad_(False)
    next(model.modules().__iter__()).encoder.network[0].eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    hooks = len(model._forward_hooks)
    attacked(name, model, batch, allowed(name, "linf"))
    assert [p.requires_grad for p in model.parameters()] == flags
    assert [m.training for m in model.modules()] == modes
    assert all(p.grad is None for p in model.parameters())
    assert batch.images.grad is None
    assert not batch.images.requires_grad
    assert len(model._forward_hooks) == hooks
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.fault("F10")
@every_norm
@everywhere
def test_a_target_with_nothing_to_attack_gives_finite_images(name, task, norm) -> None:
    model, batch, threat = tiny_model(task), tiny_batch(task, void=True), allowed(name, norm)
    found = attacked(name, model, batch, threat)
    assert found.isfinite().all()
    assert threat.violation(batch.images, found).max() <= 1e-6


@pytest.mark.parametrize("keep", ["best", "last"])
@everywhere
def test_one_forward_and_one_backward_a_step(name, task, keep) -> None:
    settings = components.complete("attacks", need(ATTACKS, "attacks", name).spec).settings
    if not {"steps", "keep", "random_start", "restarts"} <= settings.keys():
        pytest.skip("does not climb in steps")
    model, batch = tiny_model(task), tiny_batch(task)
    assert model.encoder is not None
    reference = int(tree("attacks", name).headless)  # the clean features
    attacked(name, model, batch, Threat("linf", 8 / 255), text=f"{name}(steps=5, keep={keep})")
    assert model.encoder.tally == {"forwards": 5 + (keep == "best") + reference, "backwards": 5}
