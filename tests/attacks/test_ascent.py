"""The loop that climbs: the closed-form optimum where there is one, never weaker for more effort, and loud where it
cannot climb."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import brittle
from brittle.core import components
from brittle.core.errors import CellError, UsageError
from brittle.types import Batch, Encoder, Features, Model, frozen
from brittle.types.rng import Rng
from brittle.types.target import VOID
from brittle.types.threat import Threat

COUNT, SHAPE = 6, (3, 5, 4)
DUAL = {"linf": 1, "l2": 2}
NEAR = {"linf": 0.05, "l2": 0.3}  # so small that the box is never reached from the middle


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def middle() -> Tensor:
    return 0.4 + 0.2 * torch.rand(COUNT, *SHAPE, generator=generator())


# --- closed form ------------------------------------------------------------------------------------------------------


class Linear(nn.Module):
    """Logits w.x + b; every class but 0 has the same weights, so the steepest direction is the same wherever one
    stands."""

    def __init__(self, classes: int, lead: float, images: Tensor) -> None:
        super().__init__()
        two = torch.randn(2, 60, generator=generator(1)) * 0.3
        self.weight = nn.Parameter(two[[0] + [1] * (classes - 1)])
        self.bias = nn.Parameter(torch.zeros(classes))
        with torch.no_grad():  # a margin of ``lead`` on average
            self.bias[0] = lead - self.margin(images).mean()

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T + self.bias

    def margin(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self(images)[:, 0] - self(images)[:, 1]


@pytest.mark.parametrize("random_start", ["true", "false"])
@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("norm", DUAL)
@pytest.mark.parametrize("classes", [2, 5])
def test_pgd_reaches_the_optimum_of_a_linear_model(classes, norm, keep, random_start) -> None:
    model, images = Linear(classes, 4.0, middle()), middle()
    label = torch.zeros(COUNT, dtype=torch.long)
    gap = (model.weight[0] - model.weight[1]).detach()
    length = gap.abs().sum() if norm == "linf" else gap.norm()
    wanted = model.margin(images) - NEAR[norm] * length
    attack = f"pgd(steps=40, keep={keep}, random_start={random_start})"
    found = brittle.attack(model, images, label, attack=attack, eps=NEAR[norm], norm=norm)
    assert (wanted > 0).all(), "no success, so that best is the highest loss"
    torch.testing.assert_close(model.margin(found), wanted, rtol=1e-4, atol=1e-4 * (NEAR[norm] * length).item())
    best = (images.flatten(1) - NEAR[norm] * (gap.sign() if norm == "linf" else gap / gap.norm())).view_as(images)
    with torch.no_grad():
        torch.testing.assert_close(
            cross_entropy(model(found), label, reduction="none"),
            cross_entropy(model(best), label, reduction="none"),
            rtol=1e-4,
            atol=1e-6,
        )


@pytest.mark.parametrize("norm", DUAL)
def test_pgd_reaches_the_optimum_of_a_linear_model_in_the_corner_of_the_box(norm) -> None:
    images = torch.zeros(COUNT, *SHAPE)
    model = Linear(2, 4.0, images)
    gap = (model.weight[0] - model.weight[1]).detach()
    up = (-gap).clamp(min=0)  # at black, only brighter is allowed
    length = up.sum() if norm == "linf" else up.norm()
    attack = "pgd(steps=60, step=0.1, random_start=false, keep=last)"
    found = brittle.attack(
        model, images, torch.zeros(COUNT, dtype=torch.long), attack=attack, eps=NEAR[norm], norm=norm
    )
    fall = model.margin(images) - model.margin(found)
    torch.testing.assert_close(fall, (NEAR[norm] * length).expand(COUNT), rtol=5e-3, atol=0)


# --- never weaker for more effort -------------------------------------------------------------------------------------


class Wave(nn.Module):
    """So crooked that a long step overshoots."""

    def forward(self, values: Tensor) -> Tensor:
        return (20 * values).sin()


def small_net(bend: nn.Module) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), bend, nn.Flatten(), nn.Linear(160, 4))


def strength(network: nn.Module, images: Tensor, label: Tensor) -> Tensor:
    """What an attacker wants of a label: infinite where it is lost, else the loss."""
    with torch.no_grad():
        logits = network(images)
    return torch.where(logits.argmax(1) != label, torch.inf, cross_entropy(logits, label, reduction="none"))


@pytest.fixture
def network() -> nn.Module:
    return small_net(nn.GELU())


@pytest.fixture
def batch(network) -> tuple[Tensor, Tensor]:
    images = torch.rand(24, *SHAPE, generator=generator(2))
    with torch.no_grad():
        return images, network(images).argmax(1)


SMALL = {"linf": 3 / 255, "l2": 0.08}


@pytest.mark.parametrize("norm", DUAL)
def test_a_larger_budget_is_never_weaker(network, batch, norm) -> None:
    images, label = batch
    found = []
    for factor in (0, 0.5, 1, 2, 4, 16):
        moved = brittle.attack(
            network, images, label, attack="pgd(random_start=false)", eps=SMALL[norm] * factor, norm=norm
        )
        found.append(strength(network, moved, label))
    for weaker, stronger in zip(found, found[1:]):
        assert (stronger >= weaker).all()
    assert found[-1].isinf().sum() > found[1].isinf().sum(), "some images fall only to the larger budget"


@pytest.mark.parametrize("norm", DUAL)
def test_more_steps_are_never_weaker(network, batch, norm) -> None:
    images, label = batch
    found = []
    for steps in (0, 1, 2, 5, 20):
        moved = brittle.attack(
            network, images, label, attack=f"pgd(steps={steps}, random_start=false)", eps=SMALL[norm], norm=norm
        )
        found.append(strength(network, moved, label))
    for weaker, stronger in zip(found, found[1:]):
        assert (stronger >= weaker).all()
    assert found[0].isfinite().all()
    assert (found[3] > found[0]).all()


@pytest.mark.parametrize("step", [0.25, 1.5])
@pytest.mark.parametrize("norm", DUAL)
def test_the_best_iterate_is_never_weaker_than_the_last(network, batch, norm, step) -> None:
    images, label = batch
    if step > 1:
        network = small_net(Wave())
        label = network(images).argmax(1)
    best, last = (
        strength(
            network,
            brittle.attack(network, images, label, attack=f"pgd(keep={keep}, step={step})", eps=SMALL[norm], norm=norm),
            label,
        )
        for keep in ("best", "last")
    )
    assert (best >= last).all()
    if step > 1:
        assert (best > last).any(), "with a step so long the last iterate is not always the best"


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("norm", DUAL)
def test_more_restarts_are_never_weaker(network, batch, norm, keep) -> None:
    images, label = batch
    one, three = (
        strength(
            network,
            brittle.attack(
                network, images, label, attack=f"pgd(steps=3, restarts={n}, keep={keep})", eps=SMALL[norm], norm=norm
            ),
            label,
        )
        for n in (1, 3)
    )
    assert (three >= one).all(), "the first start is the same"
    assert (three > one).any(), "the others begin elsewhere"


def test_best_is_the_highest_loss_among_iterates_that_succeed(network, batch) -> None:
    """Not the first that does, which may lie so near the border that rounding takes it back."""
    images, label = batch
    steps = [
        brittle.attack(network, images, label, attack=f"pgd(steps={n}, random_start=false, keep=last)", eps=24 / 255)
        for n in range(9)
    ]
    best = brittle.attack(network, images, label, attack="pgd(steps=8, random_start=false)", eps=24 / 255)
    fallen = torch.stack([strength(network, moved, label).isinf() for moved in steps])
    with torch.no_grad():
        loss = torch.stack([cross_entropy(network(moved), label, reduction="none") for moved in steps])
    assert fallen.any(0).sum() > fallen[1].sum(), "some fall later"
    with torch.no_grad():
        found = cross_entropy(network(best), label, reduction="none")
    assert torch.equal(strength(network, best, label).isinf(), fallen.any(0))
    torch.testing.assert_close(found, torch.where(fallen | ~fallen.any(0), loss, -torch.inf).amax(0))


def test_a_dense_success_ignores_void_pixels() -> None:
    """All pixels that count are wrong after one step; the loss is highest where one of them is right again."""

    class Two(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.stack([images[:, 0], images[:, 1]], 1)

    task = components.build("tasks", "segmentation")
    target = torch.tensor([[[0, 0, VOID, VOID]]])
    images = torch.full((1, 3, 1, 4), 0.5)
    images[:, 0] += 0.01
    wrong_all = images.clone()
    wrong_all[:, 0, :, :2] -= 0.02
    one_right = images.clone()
    one_right[0, 0, 0, 0] -= 0.5
    from brittle.attacks.parts.ascent import ascend

    path = iter([wrong_all, one_right])

    class Scripted(Threat):
        def project(self, clean: Tensor, images: Tensor) -> Tensor:
            return next(path).clone()

    model = Model(task, Two())
    batch = Batch(images, target, ["a"])
    with frozen(model):
        found = ascend(
            lambda *_: lambda x, _: task.loss(model(x), target).mean((1, 2)),
            model,
            batch,
            Scripted("linf", 1.0),
            Rng(0, ["a"]),
            steps=2,
            step=0.25,
            random_start=False,
            restarts=1,
            keep="best",
        )
    assert torch.equal(found, wrong_all)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_restarts_cost_what_they_say(network, batch, keep) -> None:
    images, label = batch
    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    brittle.attack(network, images, label, attack=f"pgd(steps=4, restarts=3, keep={keep})", eps=SMALL["linf"])
    assert len(calls) == 3 * (4 + 1)


@pytest.mark.parametrize("norm", DUAL)
def test_a_gradient_beats_noise_of_the_same_budget(network, batch, norm) -> None:
    images, label = batch
    losses = []
    for attack in ("noise", "pgd(keep=last)"):
        moved = brittle.attack(network, images, label, attack=attack, eps=SMALL[norm], norm=norm)
        with torch.no_grad():
            losses.append(cross_entropy(network(moved), label, reduction="none"))
    assert (losses[1] > losses[0]).all()


# --- the trap of a loss that is zero at the start ---------------------------------------------------------------------


class Bent(Encoder):
    """A smooth non-linear encoder."""

    def __init__(self) -> None:
        super().__init__(6, 4, size=8, mean=(0.5,) * 3, std=(0.5,) * 3, about={})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), nn.GELU(), nn.Conv2d(16, 6, 1))

    def forward(self, images: Tensor) -> Features:
        grid = self.network(self.normalise(images))
        return Features(grid.mean((2, 3)), grid)


@pytest.mark.parametrize("tokens", ["cls", "grid", "all"])
@pytest.mark.parametrize("norm", DUAL)
def test_embed_needs_its_random_start(norm, tokens) -> None:
    encoder, images = Bent(), 0.2 + 0.6 * torch.rand(4, 3, 8, 8, generator=generator())

    def moved(attack: str) -> Tensor:
        found = brittle.attack(encoder, images, attack=attack, eps=SMALL[norm], norm=norm)
        with torch.no_grad():
            one, two = encoder(images), encoder(found)
        gap = one.pooled - two.pooled if tokens == "cls" else (one.grid - two.grid).flatten(1)
        return gap.norm(dim=1)

    stuck = f"embed(tokens={tokens}, random_start=false)"
    assert torch.equal(brittle.attack(encoder, images, attack=stuck, eps=SMALL[norm], norm=norm), images), (
        "the gradient there is zero"
    )
    assert (moved(f"embed(tokens={tokens})") > 2 * moved("noise")).all()


def test_embed_looks_at_no_label_and_no_head() -> None:
    encoder, images = Bent(), torch.rand(3, 3, 8, 8, generator=generator())
    task = components.build("tasks", "classification")
    found = []
    for label, head in ((torch.zeros(3), None), (torch.ones(3), task.head(6, 4))):
        model, batch = Model(task, head, encoder), Batch(images, label.long(), ("a", "b", "c"))
        with frozen(model):
            found.append(components.build("attacks", "embed", model, batch, Threat("linf", 8 / 255), Rng(0, batch.ids)))
    assert torch.equal(*found)


# --- loud where it cannot climb ---------------------------------------------------------------------------------------


class Spoilt(nn.Module):
    """A linear classifier that goes wrong, by ``how``, on every image or (``late``) once the first pixel is past
    0.5."""

    def __init__(self, how: float, late: bool = False) -> None:
        super().__init__()
        self.linear, self.how, self.late = Linear(3, 4.0, middle()), how, late

    def forward(self, images: Tensor) -> Tensor:
        where = (images[:, :1, 0, 0] > 0.5) | (not self.late)
        return self.linear(images) + torch.where(where, self.how, 0.0)


class FlatRoot(nn.Module):
    """A finite prediction whose gradient is nan."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = Linear(3, 4.0, middle())

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images + (images - images.detach()).abs().sqrt())


@pytest.mark.fault("F16")
@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("how", [float("nan"), float("inf")])
@pytest.mark.parametrize("late", [False, True])
def test_a_loss_that_is_no_number_ends_the_cell(how, late, keep) -> None:
    images = middle()
    images[:, 0, 0, 0] = 0.49
    model = Spoilt(how, late)
    with torch.no_grad():
        model.linear.weight[1:, 0] = 5.0  # climbing goes over 0.5
        model.linear.weight[0, 0] = -5.0
    with pytest.raises(CellError, match="nonfinite"):
        brittle.attack(
            model, images, torch.zeros(COUNT, dtype=torch.long), attack=f"pgd(random_start=false, keep={keep})", eps=0.1
        )


@pytest.mark.fault("F16")
@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("norm", DUAL)
def test_a_gradient_that_is_no_number_ends_the_cell(norm, keep) -> None:
    """The sign of nan is 0, so a linf attack would stand still and the model seem robust."""
    with pytest.raises(CellError, match="nonfinite"):
        brittle.attack(
            FlatRoot(),
            middle(),
            torch.zeros(COUNT, dtype=torch.long),
            attack=f"pgd(steps=5, keep={keep})",
            eps=0.1,
            norm=norm,
        )


@pytest.mark.parametrize("attack", ["pgd", "noise", "embed"])
def test_no_images_no_work(attack) -> None:
    images = torch.zeros(0, 3, 8, 8)
    task, head = components.build("tasks", "classification"), nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    model = Model(task, None, Bent()) if attack == "embed" else Model(task, head)
    batch = Batch(images, torch.zeros(0, dtype=torch.long), [])
    assert components.build("attacks", attack, model, batch, Threat("linf", 8 / 255), Rng(0, [])).shape == images.shape


@pytest.mark.parametrize(
    "images",
    [
        torch.full((2, *SHAPE), 1.01),
        torch.full((2, *SHAPE), -0.01),
        torch.full((2, *SHAPE), float("nan")),
        torch.zeros(2, *SHAPE, dtype=torch.uint8),
        torch.zeros(*SHAPE),
        torch.zeros(2, 1, 5, 4),
    ],
)
def test_images_outside_the_contract_are_refused(network, images) -> None:
    with pytest.raises(UsageError, match="images"):
        brittle.attack(network, images, torch.zeros(len(images), dtype=torch.long))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"attack": "segpgd"}, "segpgd"),
        ({"attack": "pgd(objective=segpgd)"}, "pgd"),
        ({"attack": "pdg"}, "pgd"),
        ({"attack": "pgd(stepz=3)"}, "step"),
        ({"attack": "pgd(steps=-1)"}, "steps"),
        ({"attack": "pgd(step=0)"}, "step"),
        ({"attack": "pgd(keep=first)"}, "keep"),
        ({"norm": "l3"}, "norm"),
        ({"eps": -1}, "eps"),
        ({"eps": float("nan")}, "eps"),
        ({"attack": "embed"}, "encoder"),
        ({"ids": ["only one"]}, "ids"),
        ({"target": None}, "target"),
    ],
)
def test_misfits_are_refused_in_one_line(network, batch, options, words) -> None:
    images, label = batch
    with pytest.raises(UsageError, match=words):
        brittle.attack(network, images, **{"target": label, **options})
