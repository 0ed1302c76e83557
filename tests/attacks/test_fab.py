"""FAB finds the smallest change: closed forms on linear models, scipy's optimum where the box is met, and its
manners."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import brittle
from brittle.core import components
from brittle.core.errors import CellError, UsageError
from brittle.types import Batch, Encoder, Features, Model
from brittle.types.rng import Rng
from brittle.types.threat import Threat
from optimum import DUAL, ORDER, smallest

every_norm = pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
EVERYTHING = 1e3  # a budget that allows all of the box, as 1 does in linf, where no more is taken


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Linear(nn.Module):
    """Scores that are linear in the image; ``seen`` keeps the images of every call."""

    def __init__(self, classes: int, side: int = 2, seed: int = 0, offset: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, 3 * side * side, generator=generator(seed)))
        self.bias = nn.Parameter(
            offset * torch.randn(classes, generator=generator(seed + 1)) - self.weight.detach().sum(1) / 2
        )
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach().clone())
        return images.flatten(1) @ self.weight.T + self.bias


def size(change: Tensor, norm: str) -> Tensor:
    return change.double().flatten(1).norm(ORDER[norm], dim=1)


def margins(model: Linear, images: Tensor, label: int, norm: str) -> Tensor:
    """Each image's distance [B, C] to each class in the dual norm, without the box; infinite to its own."""
    slope = (model.weight - model.weight[label]).double()
    dual = slope.norm(DUAL[norm], dim=1)
    lead = images.double().flatten(1) @ slope.T + (model.bias - model.bias[label]).double()
    distance = -lead / dual
    distance[:, label] = math.inf
    return distance.detach()


def fab(
    model: nn.Module, images: Tensor, target: Tensor, eps: float, norm: str, settings: str = "", seed: int = 0
) -> Tensor:
    eps = min(eps, 1.0) if norm == "linf" else eps
    return brittle.attack(model, images, target, attack=f"fab{settings}", eps=eps, norm=norm, seed=seed)  # type: ignore[arg-type]


def shared_label(model: nn.Module, images: Tensor) -> tuple[Tensor, int]:
    """Those images that are given the most frequent class, and the class."""
    with torch.no_grad():
        label = model(images).argmax(1)
    common = int(label.mode().values)
    return images[label == common], common


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 6))


def scene(network: nn.Module, count: int = 32) -> tuple[Tensor, Tensor]:
    images = torch.rand(count, 3, 8, 8, generator=generator(1))
    with torch.no_grad():
        return images, network(images).argmax(1)


# --- the smallest change ----------------------------------------------------------------------------------------------


@every_norm
def test_two_classes_away_from_the_box(norm) -> None:
    model = Linear(2)
    images, label = shared_label(model, 0.5 + 0.1 * (torch.rand(12, 3, 2, 2, generator=generator(5)) - 0.5))
    assert len(images) >= 4
    found = fab(model, images, torch.full((len(images),), label), EVERYTHING, norm)
    least = margins(model, images, label, norm).amin(1)
    assert least.max() < 0.3, "the closed form would leave the box"
    ratio = size(found - images, norm) / least
    assert ratio.min() >= 1 - 1e-4
    assert ratio.max() <= 1.02


@every_norm
def test_five_classes_are_beaten_at_the_closed_form_and_not_under_it(norm) -> None:
    model = Linear(5)
    images, label = shared_label(model, 0.5 + 0.1 * (torch.rand(128, 3, 2, 2, generator=generator(6)) - 0.5))
    distance = margins(model, images, label, norm)
    least, nearest = distance.min(1)
    assert least.max() < 0.3, "the closed form would leave the box"
    with torch.no_grad():
        second = model(images).topk(2).indices[:, 1]
    # reached on the first way, and later
    for i in (
        int((nearest == second).nonzero()[0]),
        int((nearest != second).nonzero()[0]),
    ):
        one, target = images[i : i + 1], torch.tensor([label])
        found = fab(model, one, target, 1.02 * least[i].item(), norm)
        assert model(found).argmax(1).item() != label
        assert torch.equal(fab(model, one, target, 0.98 * least[i].item(), norm), one)


@every_norm
def test_where_the_box_is_met_it_is_scipys_optimum(norm) -> None:
    model = Linear(2, offset=2.0, seed=3)
    images, label = shared_label(model, (torch.rand(12, 3, 2, 2, generator=generator(7)) * 2 - 0.5).clamp(0, 1))
    images = images[:4]
    found = fab(model, images, torch.full((len(images),), label), EVERYTHING, norm)
    slope = (model.weight[1 - label] - model.weight[label]).detach()
    for i, image in enumerate(images):
        gap = -(image.flatten() @ slope + model.bias[1 - label] - model.bias[label]).item()
        best = smallest(image, slope, gap, norm)
        assert best is not None
        least = np.linalg.norm(best, ORDER[norm])
        assert least > 1.02 * margins(model, images, label, norm)[i].min().item(), "the box plays no part"
        assert least * (1 - 1e-4) <= size(found - images, norm)[i].item() <= 1.02 * least


@every_norm
def test_an_unreachable_boundary_is_not_found(norm) -> None:
    model = Linear(2)
    model.bias.data = torch.tensor([100.0, 0.0])
    images = torch.rand(2, 3, 2, 2, generator=generator(0))
    assert torch.equal(fab(model, images, torch.tensor([0, 0]), EVERYTHING, norm, "(steps=5)"), images)


@every_norm
def test_a_step_is_the_papers(norm) -> None:
    """x <- (1 - a) (x + eta d) + a (clean + eta d_clean), a = min(|d| / (|d| + |d_clean|), alpha_max), on its way from
    a random start."""
    model, images = Linear(2), torch.full((6, 3, 2, 2), 0.5)
    model.bias.data += torch.tensor([0.5, 0.0])
    slope = (model.weight[1] - model.weight[0]).detach()
    dual = slope.norm(DUAL[norm])
    towards = {"linf": slope.sign(), "l2": slope / dual, "l1": slope.sign() * (slope.abs() == dual)}[norm]

    def onto(x: Tensor) -> tuple[Tensor, Tensor]:
        lead = x @ slope + model.bias[1] - model.bias[0]
        away = -lead[:, None] / dual
        return away * towards, away.abs()

    for most in (0.05, 1.0):
        model.seen.clear()
        with torch.no_grad():
            spoken = f"(steps=1, restarts=2, eta=1.2, alpha_max={most})"
            fab(
                model,
                images,
                torch.zeros(6, dtype=torch.long),
                {"linf": 0.02, "l2": 0.1, "l1": 0.1}[norm],
                norm,
                spoken,
            )
            clean, start, after = (model.seen[i].flatten(1) for i in (0, 3, 4))
            (here, near), (there, far) = onto(start), onto(clean)
            alpha = (near / (near + far)).clamp(max=most)
            wanted = (1 - alpha) * (start + 1.2 * here) + alpha * (clean + 1.2 * there)
        assert not torch.equal(start, clean)
        torch.testing.assert_close(after, wanted, rtol=0, atol=1e-5)


@every_norm
def test_of_all_it_meets_it_returns_the_closest(network, norm) -> None:
    images, target = scene(network, 8)
    met = torch.full((8,), math.inf, dtype=torch.float64)

    class Spy(nn.Module):
        def forward(self, seen: Tensor) -> Tensor:
            scores = network(seen)
            wrong = scores.argmax(1) != target
            met[wrong] = torch.minimum(met, size(seen.detach() - images, norm))[wrong]
            return scores

    found = fab(Spy(), images, target, EVERYTHING, norm, "(steps=30, targets=1)")
    assert met.isfinite().sum() >= 7
    torch.testing.assert_close(size(found - images, norm), met.nan_to_num(posinf=0.0), rtol=1e-6, atol=0)


# --- manners ----------------------------------------------------------------------------------------------------------


@every_norm
def test_neither_batch_size_nor_order_matter(network, norm) -> None:
    images, target = scene(network)
    names = [f"image{i}" for i in range(len(images))]
    eps = {"linf": 0.06, "l2": 0.5, "l1": 4.0}[norm]

    def attacked(model: nn.Module, rows: list[int]) -> Tensor:
        chosen, settings = [names[i] for i in rows], "fab(steps=10, restarts=2, targets=3)"
        return brittle.attack(model, images[rows], target[rows], attack=settings, eps=eps, norm=norm, ids=chosen)  # type: ignore[arg-type]

    whole = attacked(network, list(range(32)))
    beaten = (whole != images).flatten(1).any(1)
    some = [*beaten.nonzero().flatten().tolist()[:3], int((~beaten).nonzero()[0])]
    assert len(some) == 4, "the budget tells nothing apart"
    order = torch.randperm(32, generator=generator(2)).tolist()
    assert torch.equal(attacked(network, order), whole[order])
    for i in some:  # the network's own products round otherwise for one image
        torch.testing.assert_close(attacked(network, [i]), whole[i : i + 1], rtol=0, atol=1e-5)

    class OneByOne(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.cat([network(image) for image in images.split(1)])

    together = attacked(OneByOne(), some)
    for row, i in enumerate(some):
        assert torch.equal(attacked(OneByOne(), [i])[0], together[row])


@every_norm
def test_what_is_wrong_already_is_returned_as_it_is(network, norm) -> None:
    images, target = scene(network, 6)
    wrong = (target + torch.tensor([0, 1, 0, 1, 0, 1])) % 6
    found = fab(network, images, wrong, EVERYTHING, norm, "(steps=10)")
    changed = (found != images).flatten(1).any(1)
    assert changed.tolist() == [True, False] * 3


@every_norm
def test_more_budget_beats_all_that_less_did(network, norm) -> None:
    images, target = scene(network)
    before = torch.zeros(32, dtype=torch.bool)
    for eps in {"linf": (0.03, 0.06, 0.09), "l2": (0.3, 0.5, 0.7), "l1": (1.0, 2.0, 4.0)}[norm]:
        found = fab(network, images, target, eps, norm, "(steps=10)")
        beaten = network(found).argmax(1) != target
        assert (beaten | ~before).all()
        assert beaten.sum() > before.sum()
        before = beaten


def test_only_those_still_right_go_on(network) -> None:
    class Spy(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            counts.append(len(images))
            return network(images)

    counts: list[int] = []
    images, target = scene(network)
    target[:2] = (target[:2] + 1) % 6
    fab(Spy(), images, target, 0.06, "linf", "(steps=7, targets=3)")
    assert len(counts) == 1 + 3 * 7 * 2
    assert counts[0] == 32
    groups = [set(counts[1 + 14 * i : 15 + 14 * i]) for i in range(3)]
    assert all(len(group) == 1 for group in groups)
    first, second, third = (group.pop() for group in groups)
    assert (first, first > second >= third) == (30, True)
    counts.clear()
    fab(Spy(), images, target, EVERYTHING, "linf")
    assert len(counts) == 1 + 100 * 2, "all were beaten on the way to the first class"


@every_norm
def test_restarts_are_random_points_at_half_of_eps(norm) -> None:
    model, eps = Linear(2), 0.1
    model.bias.data = torch.tensor([100.0, 0.0])
    images = torch.full((2, 3, 2, 2), 0.5)

    def starts(seed: int, restarts: int, target: tuple[int, int] = (0, 0)) -> list[Tensor]:
        model.seen.clear()
        fab(model, images, torch.tensor(target), eps, norm, f"(steps=1, restarts={restarts})", seed)
        return model.seen[1::2]  # one forward for the clean images, then two a restart

    clean, first, second = starts(0, 3)
    assert torch.equal(clean, images)
    torch.testing.assert_close(
        size(first - images, norm), torch.full((2,), eps / 2, dtype=torch.float64), rtol=1e-5, atol=0
    )
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    assert all(torch.equal(a, b) for a, b in zip(starts(0, 3), (clean, first, second)))
    assert not torch.equal(starts(1, 2)[1], first)
    assert torch.equal(starts(0, 2, (1, 0))[1], first[1:]), (
        "an image's numbers are its own, also where the one before is wrong already"
    )
    model.bias.data = torch.tensor([1e-3, 0.0]) - model.weight.detach().sum(1) / 2
    beaten = [fab(model, images, torch.tensor([0, 0]), eps, norm, "(restarts=2)", seed) for seed in (0, 1)]
    assert torch.equal(*beaten), "the first start is the clean image, and it sufficed"


@every_norm
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_fewer_classes_are_fewer_targets(norm, classes) -> None:
    model = Linear(classes)
    images = torch.rand(2, 3, 2, 2, generator=generator(0))
    fab(model, images, model(images).argmax(1), 0.0, norm, "(steps=1)")
    assert len(model.seen) == 1 + 1 + 2 * (classes - 1)


@every_norm
def test_zero_gradients_are_no_nan(norm) -> None:
    images = torch.rand(3, 3, 2, 2, generator=generator(0))
    flat = torch.tensor([1.0, 0.0, 0.5])
    found = fab(
        lambda x: 0 * x.flatten(1)[:, :3] + flat,
        images,
        torch.zeros(3, dtype=torch.long),
        0.5,
        norm,
        "(steps=3, restarts=2)",
    )
    assert torch.equal(found, images)
    corner = torch.stack([torch.zeros(3, 2, 2), torch.ones(3, 2, 2)])
    tied = fab(
        lambda x: torch.stack([x.mean((1, 2, 3)).relu(), 0 * x[:, 0, 0, 0]], 1),
        corner,
        torch.tensor([0, 0]),
        EVERYTHING,
        norm,
    )
    assert tied.isfinite().all()


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        (lambda x: x.flatten(1)[:, :2] / 0, "nonfinite"),
        (
            lambda x: torch.stack([x.sum((1, 2, 3)), -math.inf + 0 * x[:, 0, 0, 0]], 1),
            "nonfinite: the loss is -inf at step 0",
        ),
        (
            lambda x: torch.stack([1 + (0 * x).sum((1, 2, 3)).sqrt(), 0 * x[:, 0, 0, 0]], 1),
            "nonfinite: the gradient is nan or inf at step 0",
        ),
    ],
)
def test_what_is_no_number_ends_it(scores, wanted) -> None:
    images = torch.rand(2, 3, 2, 2, generator=generator(0))
    with pytest.raises(CellError, match=wanted):
        fab(scores, images, torch.zeros(2, dtype=torch.long), 0.1, "linf", "(steps=2)")


@pytest.mark.parametrize("setting", ["steps=0", "restarts=0", "targets=0", "alpha_max=1.5", "eta=0.9", "beta=-0.1"])
def test_settings_out_of_range_are_refused(setting) -> None:
    with pytest.raises(UsageError, match=setting.partition("=")[0]):
        components.complete("attacks", f"fab({setting})")


class Coarse(Encoder):
    """An encoder that bfloat16 rounds; ``kinds`` notes in which precision it was asked."""

    def __init__(self) -> None:
        super().__init__(16, 4, size=8, mean=(0.5,) * 3, std=(0.25,) * 3, about={})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer = nn.Linear(192, 16)
        self.kinds: list[tuple[bool, bool]] = []

    def forward(self, images: Tensor) -> Features:
        self.kinds.append((torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))
        pooled = self.layer(self.normalise(images).flatten(1)).tanh()
        return Features(pooled, pooled.view(-1, 16, 1, 1))


def test_in_bfloat16_only_gradients_are_taken() -> None:
    task = components.build("tasks", "classification")
    encoder, head = Coarse(), task.head(16, 5)
    nn.init.normal_(head.linear.weight, generator=generator(0))
    model = Model(task, head, encoder).requires_grad_(False).eval()
    images = torch.rand(24, 3, 8, 8, generator=generator(1))
    with torch.no_grad():
        batch = Batch(images, model(images).argmax(1), [str(i) for i in range(24)])
    encoder.kinds.clear()
    model.bf16 = True
    found = components.build("attacks", "fab(steps=20)", model, batch, Threat("linf", 0.2), Rng(0, batch.ids))
    assert model.bf16
    assert set(encoder.kinds) == {(True, True), (False, False)}
    model.bf16 = False
    changed = (found != images).flatten(1).any(1)
    assert changed.sum() >= 12
    assert (model(found).argmax(1) != batch.target)[changed].all()
