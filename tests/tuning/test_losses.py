"""Each loss equals its formula, written out by hand, and each attack leads away from the teacher."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div, log_softmax, normalize, softplus
from tuned import Small, pictures, projected, vit

from brittle.core import components
from brittle.core.errors import UsageError
from brittle.tuning.parts import distance
from brittle.tuning.parts.distance import Distance
from brittle.tuning.parts.method import Method, Seen
from brittle.tuning.parts.source import Source, collated
from brittle.types import Encoder, Features
from brittle.types.rng import Rng


def features(seed: int, count: int = 4) -> Features:
    generator = torch.Generator().manual_seed(seed)
    return Features(torch.randn(count, 6, generator=generator), torch.randn(count, 6, 2, 2, generator=generator))


SEEN = Seen(features(0), features(1), features(2))
ANCHOR, CLEAN, ATTACKED = (each.pooled for each in SEEN)


def built(spec: str, encoder: Encoder | None = None, source: Source | None = None) -> Method:
    return components.build("tuning", spec, encoder or Small(), source or pictures())


def test_deacl() -> None:
    wanted = -cosine_similarity(CLEAN, ANCHOR) - 3 * cosine_similarity(ATTACKED, CLEAN)
    torch.testing.assert_close(built("deacl(gamma=3)").loss(SEEN), wanted)


def test_fare() -> None:
    wanted = (ATTACKED - ANCHOR).square().sum(1)
    torch.testing.assert_close(built("fare").loss(SEEN), wanted)
    torch.testing.assert_close(built("fare(clean=0.5)").loss(SEEN), wanted + 0.5 * (CLEAN - ANCHOR).square().sum(1))


def test_lore() -> None:
    method = built("lore(rho=0.2, dual=3)")
    multiplier = method.own.linear
    with torch.no_grad():
        multiplier.weight.normal_(generator=torch.Generator().manual_seed(0))
    clean = CLEAN.clone().requires_grad_()
    seen = SEEN._replace(clean=SEEN.clean._replace(pooled=clean))
    weight = softplus(normalize(ANCHOR, dim=1) @ multiplier.weight[0] + multiplier.bias)
    over = (clean - ANCHOR).square().sum(1) - 0.2 * ANCHOR.square().sum(1)
    lagrangian = (ATTACKED - ANCHOR).square().sum(1) + weight * over
    mine = torch.autograd.grad(method.loss(seen).sum(), [clean, multiplier.weight])
    wanted = torch.autograd.grad(lagrangian.sum(), [clean, multiplier.weight])
    torch.testing.assert_close(mine[0], wanted[0])
    torch.testing.assert_close(mine[1], -3 * wanted[1], msg="the multiplier climbs")


def test_profeat() -> None:
    encoder = projected()

    def far(one: Tensor, other: Tensor) -> Tensor:
        space = encoder.projector(one), encoder.projector(other)
        return -0.7 * cosine_similarity(one, other) - 0.3 * cosine_similarity(*space)

    wanted = far(CLEAN, ANCHOR) + 5 * far(ATTACKED, CLEAN)
    torch.testing.assert_close(built("profeat(beta=5, projected=0.3)", encoder).loss(SEEN), wanted)


def test_the_projector_is_frozen_and_left_behind() -> None:
    encoder = projected()
    method = built("profeat", encoder)
    trained = {name for name, weight in method.named_parameters() if weight.requires_grad}
    assert trained == {f"student.{name}" for name, _ in Small().named_parameters()}
    assert all(weight.requires_grad for weight in encoder.projector.parameters())
    assert not any(each is other for each in method.modules() for other in encoder.modules())


def test_profeat_is_attacked_in_both_spaces() -> None:
    """Of a student that has moved: each step along the sign of the gradient of both cosines, by hand."""
    encoder, moved = projected(), Small(seed=5)
    method, batch = built("profeat(projected=0.1)", encoder), batch_of(pictures())
    method.student.load_state_dict(moved.state_dict())
    images = (batch.images + 8 / 255 * (2 * Rng(0, batch.ids).uniform(batch.images) - 1)).clamp(0, 1)
    with torch.no_grad():
        anchor = encoder(batch.images).pooled
    for _ in range(5):
        images.requires_grad_()
        now = moved(images).pooled
        near = cosine_similarity(now, anchor) + cosine_similarity(encoder.projector(now), encoder.projector(anchor))
        (gradient,) = torch.autograd.grad(-near.sum(), images)
        images = images.detach() + 2 / 255 * gradient.sign()
        images = images.clamp(batch.images - 8 / 255, batch.images + 8 / 255).clamp(0, 1)
    seen, attacked = method.inner(method.student, method.teacher, batch, Rng(0, batch.ids))
    torch.testing.assert_close(attacked, images, rtol=0, atol=1e-5)
    torch.testing.assert_close(seen.grid, encoder(batch.images).grid, msg="the loss sees the encoder's own")


def test_without_a_projector_there_is_no_profeat() -> None:
    with pytest.raises(UsageError, match=r"profeat needs the projector .* small has none \(it holds none\)") as error:
        built("profeat")
    assert "\n" not in str(error.value)


def test_robustness_tokens() -> None:
    def far(one: Features, other: Features) -> Tensor:
        grids = one.grid.flatten(2), other.grid.flatten(2)
        return -(cosine_similarity(one.pooled, other.pooled) + cosine_similarity(*grids).mean(1)) / 2

    wanted = far(SEEN.clean, SEEN.anchor) + far(SEEN.attacked, SEEN.anchor)
    torch.testing.assert_close(built("robustness_tokens", vit()).loss(SEEN), wanted)


def test_the_attack_knows_the_tokens() -> None:
    """One step of its own, by hand."""
    one = "pgd(objective=embedding(tokens=cls, distance=cosine), steps=1, step=1, keep=last)"
    method, batch = built(f"robustness_tokens(attack='{one}')", vit()), batch_of(pictures())
    with torch.no_grad():
        method.student.extra_tokens.mul_(50)
    _, attacked = method.inner(method.student, method.teacher, batch, Rng(0, batch.ids))
    images = (batch.images + 8 / 255 * (2 * Rng(0, batch.ids).uniform(batch.images) - 1)).clamp(0, 1)

    def climbed(encoder: Encoder) -> Tensor:
        start = images.clone().requires_grad_()
        near = cosine_similarity(encoder(start).pooled, vit()(batch.images).pooled).sum()
        (gradient,) = torch.autograd.grad(near, start)
        moved = start.detach() - 8 / 255 * gradient.sign()
        return moved.clamp(batch.images - 8 / 255, batch.images + 8 / 255).clamp(0, 1)

    torch.testing.assert_close(attacked, climbed(method.student), rtol=0, atol=1e-5)
    assert (attacked - climbed(vit())).abs().max() > 1 / 255


@pytest.mark.parametrize("tokens", ["cls", "grid", "all"])
@pytest.mark.parametrize("measure", ["l2", "cosine"])
def test_distances_by_hand(tokens: str, measure: str) -> None:
    def of(one: Tensor, other: Tensor) -> float:
        if measure == "l2":
            return sum((a - b) ** 2 for a, b in zip(one.tolist(), other.tolist()))
        dot = sum(a * b for a, b in zip(one.tolist(), other.tolist()))
        return -dot / math.sqrt(sum(a * a for a in one.tolist()) * sum(b * b for b in other.tolist()))

    found = Distance(tokens, measure)(SEEN.attacked, SEEN.anchor)
    for image in range(4):
        pooled = of(ATTACKED[image], ANCHOR[image])
        cells = [(row, column) for row in range(2) for column in range(2)]
        grid = sum(of(SEEN.attacked.grid[image, :, r, c], SEEN.anchor.grid[image, :, r, c]) for r, c in cells) / 4
        wanted = {"cls": pooled, "grid": grid, "all": (pooled + grid) / 2}[tokens]
        assert found[image].item() == pytest.approx(wanted, rel=1e-5)


def test_mahalanobis_does_not_see_how_features_are_mixed(monkeypatch) -> None:
    """Coordinates of any scale and direction give the same distance but for the ridge; the covariance becomes 1."""
    rows = torch.randn(4000, 6, generator=torch.Generator().manual_seed(0))
    mixed = torch.randn(6, 6, generator=torch.Generator().manual_seed(1)) + 2 * torch.eye(6)

    def of(matrix: Tensor) -> Tensor:
        known = [Features(rows @ matrix, torch.zeros(4000, 6, 1, 1))]
        one, other = (Features(part @ matrix, SEEN.anchor.grid) for part in (ATTACKED, ANCHOR))
        return Distance("cls", "mahalanobis", known)(one, other)

    plain, moved = of(torch.eye(6)), ATTACKED - ANCHOR
    torch.testing.assert_close(plain, moved.square().sum(1) / 1.1, rtol=0.1, atol=0)
    torch.testing.assert_close(of(3 * torch.eye(6)), plain, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(distance, "RIDGE", 0.0)
    torch.testing.assert_close(of(mixed), of(torch.eye(6)), rtol=1e-3, atol=1e-3)


def batch_of(source: Source, step: int = 0):
    return collated([source.item(place, step, "none") for place in range(4)])


@pytest.mark.parametrize("name", ["deacl", "fare"])
def test_the_attack_leads_away_from_the_teacher_not_from_the_student(name: str) -> None:
    """Of a student that has moved: each step along the sign of the gradient, by hand."""
    method, source = built(name), pictures()
    moved = Small(seed=5)
    method.student.load_state_dict(moved.state_dict())
    batch = batch_of(source)
    anchor, attacked = method.inner(method.student, method.teacher, batch, Rng(0, batch.ids))
    images = (batch.images + 8 / 255 * (2 * Rng(0, batch.ids).uniform(batch.images) - 1)).clamp(0, 1)
    with torch.no_grad():
        torch.testing.assert_close(anchor.pooled, Small()(batch.images).pooled)
    for _ in range(5):
        images.requires_grad_()
        now = moved(images).pooled
        far = -cosine_similarity(now, anchor.pooled) if name == "deacl" else (now - anchor.pooled).square().sum(1)
        (gradient,) = torch.autograd.grad(far.sum(), images)
        images = images.detach() + 2 / 255 * gradient.sign()
        images = images.clamp(batch.images - 8 / 255, batch.images + 8 / 255).clamp(0, 1)
    torch.testing.assert_close(attacked, images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("objective", ["embedding(tokens=grid)", "embedding(tokens=all, distance=cosine)", "relations"])
def test_any_objective_on_the_encoder_is_an_inner_attack(objective: str) -> None:
    encoder = components.build("encoders", "embedded:random") if objective == "relations" else Small()
    method = built(f"fare(attack='pgd(objective={objective}, steps=2, keep=last)')", encoder)
    size = encoder.size
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    batch = batch_of(pictures())._replace(images=images, ids=["a", "b"])
    anchor, attacked = method.inner(method.student, method.teacher, batch, Rng(0, batch.ids))
    far = (attacked - images).abs().amax((1, 2, 3))
    assert (far > 4 / 255).all()
    assert (far <= 8 / 255 + 1e-6).all()


def with_a_head(spec: str) -> Method:
    """A supervised method whose head has begun to say something."""
    method = built(spec)
    with torch.no_grad():
        method.head.linear.weight.normal_(generator=torch.Generator().manual_seed(0))
    return method


def predicted(method: Method, images: Tensor) -> Tensor:
    return method.head(method.student(images), ())


def test_adversarial_training() -> None:
    method, source = with_a_head("pgd_at"), pictures()
    batch = batch_of(source)
    loss = method(batch, Rng(0, batch.ids), 0.0)
    attacked = method.inner.on_task(method.student, method.head, batch, Rng(0, batch.ids))
    torch.testing.assert_close(loss, cross_entropy(predicted(method, attacked), batch.target))
    assert loss > cross_entropy(predicted(method, batch.images), batch.target)


def test_trades() -> None:
    method, source = with_a_head("trades(beta=2)"), pictures()
    batch = batch_of(source)
    loss = method(batch, Rng(0, batch.ids), 0.0)
    attacked = method.inner.on_task(method.student, method.head, batch, Rng(0, batch.ids))
    clean, hit = predicted(method, batch.images), predicted(method, attacked)
    apart = kl_div(log_softmax(hit, 1), log_softmax(clean, 1), reduction="batchmean", log_target=True)
    torch.testing.assert_close(loss, cross_entropy(clean, batch.target) + 2 * apart)
    assert apart > 0


def test_tecoa() -> None:
    source, encoder = pictures(), Small()
    method = built("tecoa(temperature=0.1)", encoder, source)
    rows = [source.read(place) for place in range(len(source))]
    with torch.no_grad():
        each = normalize(encoder(torch.stack([image for image, _ in rows])).pooled, dim=1)
    labels = torch.stack([label for _, label in rows])
    means = torch.stack([normalize(each[labels == k].sum(0), dim=0) for k in range(3)])
    batch = batch_of(source)
    loss = method(batch, Rng(0, batch.ids), 0.0)
    attacked = method.inner.on_task(method.student, method.head, batch, Rng(0, batch.ids))
    logits = normalize(method.student(attacked).pooled, dim=1) @ means.T / 0.1
    torch.testing.assert_close(loss, cross_entropy(logits, batch.target), rtol=1e-4, atol=1e-5)
    assert not any("vectors" in name for name, _ in method.named_parameters()), "they are fixed"


def test_robust_tuning_makes_robust() -> None:
    """On images whose class shows in a mean colour and in a checkerboard that an attack can turn, a student learns to
    go by the colour."""
    from brittle.tuning.parts import training
    from brittle.tuning.parts.recipe import Recipe

    class Nobody:
        def step(self, *_: object) -> None: ...
        def stop(self, *_: object) -> bool:
            return False

    def moved(method: Method) -> float:
        batch = batch_of(source, 1)
        anchor, attacked = method.inner(method.student, method.teacher, batch, Rng(1, batch.ids))
        with torch.no_grad():
            return (method.student(attacked).pooled - anchor.pooled).square().sum(1).mean().item()

    source = pictures()
    before = moved(built("fare"))
    method = built("fare")
    training.train(method, source, replace(Recipe(), steps=60, batch=12, lr=1e-2), Nobody(), what="test")
    assert moved(method) < 0.5 * before
