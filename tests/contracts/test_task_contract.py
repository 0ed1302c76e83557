"""Every task: a loss that is never reduced and never touches void, a score that adds up, a perfect prediction that is
perfect."""

import pytest
import torch
from tiny import TASKS, generator, need, tiny_batch, tiny_model

from brittle.core import components
from brittle.types import Features, frozen, per_image, predict

pytestmark = pytest.mark.parametrize("name", components.names("tasks"))


def predicted(name: str, count: int = 4):
    case = need(TASKS, "tasks", name)
    task, target = components.build("tasks", name), case.target(count)
    prediction = 0.1 * case.perfect(target) + 8 * torch.rand(case.perfect(target).shape, generator=generator(5))
    return case, task, target, prediction


def total(rows):
    return {key: value.sum(0) for key, value in rows.items()}


def test_head_loss_and_score_fit_each_other(name) -> None:
    case = need(TASKS, "tasks", name)
    task, target = components.build("tasks", name), case.target(2)
    features = Features(
        *(torch.randn(2, 8, *size, generator=generator(i)).requires_grad_() for i, size in enumerate([(), (4, 4)]))
    )
    head = task.head(8, case.outputs)
    prediction = predict(head, features, 4, (16, 16))
    loss = task.loss(prediction, target)
    assert loss.shape[0] == 2
    assert loss.isfinite().all()
    assert loss.shape in ((2,), target.shape), "unreduced: one value an image or a pixel"
    per_image(loss).sum().backward()
    # there may be nothing to train
    learnt = list(head.parameters()) or [getattr(features, name) for name in task.reads]
    assert any((p.grad is not None and p.grad.abs().sum() > 0) for p in learnt), "the loss does not train the head"
    rows = task.score(prediction, target)
    assert all(len(value) == 2 for value in rows.values()), "one row an image"
    assert task.headline in task.summarise(total(rows))


def test_each_image_has_its_own_loss(name) -> None:
    _, task, target, prediction = predicted(name)
    whole = per_image(task.loss(prediction, target))
    alone = torch.cat([per_image(task.loss(prediction[i : i + 1], target[i : i + 1])) for i in range(4)])
    torch.testing.assert_close(whole, alone)
    assert whole.unique().numel() == 4


def test_the_score_adds_up(name) -> None:
    _, task, target, prediction = predicted(name)
    whole = task.score(prediction, target)
    parts = [total(task.score(prediction[cut], target[cut])) for cut in (slice(1), slice(1, 4))]
    added = {key: parts[0][key] + parts[1][key] for key in whole}
    assert task.summarise(added) == pytest.approx(task.summarise(total(whole)), rel=1e-9)
    assert all(torch.equal(whole[key][1:], task.score(prediction[1:], target[1:])[key]) for key in whole)


def test_the_perfect_prediction_is_perfect_and_a_worse_one_is_worse(name) -> None:
    case, task, target, prediction = predicted(name)
    best = task.summarise(total(task.score(case.perfect(target), target)))[task.headline]
    assert best == pytest.approx(case.best, abs=1e-6)
    worse = task.summarise(total(task.score(prediction, target)))[task.headline]
    assert worse < best if task.higher_is_better else worse > best
    assert (per_image(task.loss(case.perfect(target), target)) < per_image(task.loss(prediction, target))).all()
    right = task.right(case.perfect(target), target)
    assert right is None or (right | (task.loss(prediction, target) == 0)).all(), "right wherever it is not void"


def test_a_lower_resolution_prediction_is_scored_at_the_targets(name) -> None:
    case, task, target, _ = predicted(name)
    prediction = case.perfect(target)
    if prediction.dim() < 4:
        pytest.skip("predicts one thing for an image")
    small = torch.nn.functional.avg_pool2d(prediction, 2)
    assert len(per_image(task.loss(small, target))) == 4
    task.score(small, target)


@pytest.mark.fault("F10")
def test_void_counts_for_nothing(name) -> None:
    case, task, target, prediction = predicted(name)
    if case.void is None:
        pytest.skip("its targets are never void")
    void = case.void(4)
    leaf = prediction.clone().requires_grad_()
    loss = task.loss(leaf, void)
    per_image(loss).sum().backward()
    assert (loss == 0).all()
    assert leaf.grad is not None
    assert (leaf.grad == 0).all(), "and no nan in the gradient"
    assert all((value == 0).all() for value in task.score(prediction, void).values())
    right = task.right(prediction, void)
    assert right is None or not right.any()
    place = target == void.flatten()[0]
    changed = torch.where(
        place if prediction.dim() == place.dim() else place[:, None], prediction.flip(1) + 3, prediction
    )
    assert not torch.equal(changed, prediction)
    torch.testing.assert_close(task.loss(changed, target), task.loss(prediction, target))
    assert task.summarise(total(task.score(changed, target))) == task.summarise(total(task.score(prediction, target)))
    with_void = task.summarise(total(task.score(torch.cat([prediction, prediction]), torch.cat([target, void]))))
    assert with_void == pytest.approx(task.summarise(total(task.score(prediction, target)))), (
        "a void image changes no metric"
    )


def test_right_is_shaped_as_the_loss(name) -> None:
    model, batch = tiny_model(name), tiny_batch(name)
    with frozen(model), torch.no_grad():
        prediction = model(batch.images)
    right = model.task.right(prediction, batch.target)
    if right is None:
        pytest.skip("right and wrong have no meaning")
    assert right.shape == model.task.loss(prediction, batch.target).shape
    assert not right.all()


def test_its_attack_fits_it_and_its_proportions_exist(name) -> None:
    from brittle.planning import sweep

    case, task, target, prediction = predicted(name)
    assert task.name == name
    assert not sweep.misfit("attacks", task.attack, name)
    rows = task.score(prediction, target)
    metrics = task.summarise(total(rows))
    for metric, (hits, trials) in task.proportions.items():
        assert metrics[metric] == pytest.approx((total(rows)[hits] / total(rows)[trials]).item())
    assert case.best in (0.0, 1.0)


def test_shares_lie_between_0_and_1(name) -> None:
    case, task, target, prediction = predicted(name)
    for guess in (prediction, case.perfect(target)):
        metrics = task.summarise(total(task.score(guess, target)))
        assert set(task.shares) <= metrics.keys() - task.proportions.keys()
        assert all(0 <= metrics[metric] <= 1 for metric in task.shares)
        assert all(value >= 0 for value in metrics.values())


def test_an_image_alone_has_the_headline_of_itself(name) -> None:
    _, task, target, prediction = predicted(name)
    rows = task.score(prediction, target)
    each = [task.summarise({key: value[place] for key, value in rows.items()})[task.headline] for place in range(4)]
    assert task.alone(rows).tolist() == pytest.approx(each)
    assert task.alone(rows).dtype == torch.float64
    classes = task.by_class(rows)
    assert classes is None or all(0 <= hit <= trial for hit, trial in zip(*classes, strict=True))
