"""APGD and the ensembles: the optimum where it is known, what a schedule may keep, and never weaker than a member."""

import pytest
import torch
from torch import Tensor, nn

import brittle
from brittle.attacks.parts import ensemble
from brittle.core import components
from brittle.core.errors import UsageError
from brittle.types import Batch, Encoder, Features, Model
from brittle.types.rng import Rng
from brittle.types.target import VOID
from brittle.types.threat import Threat
from optimum import DUAL, farthest

EPS = {"linf": 0.05, "l2": 0.3, "l1": 1.5}
NEAR = {"linf": 1e-5, "l2": 2e-3, "l1": 1e-4}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Line(nn.Module):
    """Two logits, apart by w.x + 2."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(60, generator=generator(1)) * 0.3)

    def forward(self, images: Tensor) -> Tensor:
        gap = (images - 0.5).flatten(1) @ self.weight + 2
        return torch.stack([gap, -gap], 1) / 2


def small(classes: int = 5, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(8, 8, 3, stride=2),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(72, classes),
        )
        with torch.no_grad():  # no class leads everywhere
            network[-1].bias -= network(torch.rand(64, 3, 8, 8)).mean(0)
            network[-1].weight *= 20
            network[-1].bias *= 20
    return network


@pytest.fixture
def images() -> Tensor:
    return torch.rand(24, 3, 8, 8, generator=generator(2))


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("norm", EPS)
def test_apgd_reaches_the_optimum_of_a_linear_model(norm, keep) -> None:
    model, images = Line(), 0.4 + 0.2 * torch.rand(6, 3, 5, 4, generator=generator())
    label = torch.zeros(6, dtype=torch.long)
    slope = -model.weight.detach().view(3, 5, 4)
    fall = EPS[norm] * slope.flatten().norm(DUAL[norm]).expand(6)
    if norm == "l1":  # whose steps meet the box
        fall = farthest(images, slope, EPS[norm]).float()
    found = brittle.attack(model, images, label, attack=f"apgd(keep={keep})", eps=EPS[norm], norm=norm)
    with torch.no_grad():
        wanted, gap = model(images)[:, 0] * 2 - fall, model(found)[:, 0] * 2
    assert (wanted > 0).all(), "no success, so that best is the highest loss"
    near = 0.05 if (norm, keep) == ("l1", "last") else NEAR[norm]  # a sparse step may lead down again
    torch.testing.assert_close(gap, wanted, rtol=0, atol=near * fall.max().item())


class Hill(nn.Module):
    """Two logits, the second highest at one point inside the ball: there a step that stays long never arrives."""

    def __init__(self, top: Tensor) -> None:
        super().__init__()
        self.top = top
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach().clone())
        lead = -10 * (images - self.top).square().flatten(1).sum(1)
        return torch.stack([torch.zeros_like(lead), lead - 1], 1)


def papers_iterates(clean: Tensor, start: Tensor, top: Tensor, eps: float, steps: int) -> list[Tensor]:
    """Algorithm 1 of Croce and Hein 2020 in linf for one image: momentum 0.75, and at each checkpoint, where fewer than
    75 % of the steps rose or the best has not moved since the last one (and the step has not been halved there), half
    the step, from the best."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    checkpoints = [round(share * steps) for share in shares]

    def value(images: Tensor) -> float:
        return -(images - top).square().sum().item()

    def inside(images: Tensor) -> Tensor:
        return images.clamp(clean - eps, clean + eps).clamp(0, 1)

    made, values, size = [start], [value(start)], 2 * eps
    here, before, best_at_check, halved = start, start, value(start), True
    for number in range(1, steps + 1):
        ahead = inside(here + size * (top - here).sign())
        moved = ahead if number == 1 else inside(here + 0.75 * (ahead - here) + 0.25 * (here - before))
        made.append(moved)
        values.append(value(moved))
        before, here = here, moved
        if number in checkpoints:
            first = checkpoints[checkpoints.index(number) - 1]
            rose = sum(values[i + 1] > values[i] for i in range(first, number))
            stuck = not halved and best_at_check >= max(values)
            halved = rose <= 0.75 * (number - first) or stuck
            best_at_check = max(values)
            if halved:
                size, here = size / 2, made[values.index(max(values))]
    return made


def test_its_iterates_are_the_papers() -> None:
    clean = 0.4 + 0.2 * torch.rand(1, 3, 4, 4, generator=generator()).double()
    top = clean + 0.08 * torch.rand(1, 3, 4, 4, generator=generator(1)).double() - 0.04
    hill = Hill(top)
    found = brittle.attack(hill, clean, torch.tensor([0]), attack="apgd(steps=100, scout=0)", eps=0.1)
    seen = hill.seen[-101:]
    wanted = papers_iterates(clean, seen[0], top, 0.1, 100)
    torch.testing.assert_close(torch.cat(seen), torch.cat(wanted), rtol=0, atol=1e-9)
    assert (seen[0] - top).abs().max() > 0.05
    assert (found - top).abs().max() < 0.005, "it arrives"


@pytest.mark.parametrize("norm", EPS)
def test_no_image_that_falls_to_pgd_stands(images, norm) -> None:
    """Its scouting is pgd with pgd's own settings, so in 100 steps it looks at all that pgd looks at, and at no more
    images than steps."""
    network, label, seen = small(), small()(images).argmax(1), {}
    for attack in ("pgd", "apgd", "apgd(scout=0)"):
        iterates: list[Tensor] = []
        handle = network.register_forward_hook(
            lambda _module, inputs, _output: iterates.append(inputs[0].detach().clone())
        )
        found = brittle.attack(network, images, label, attack=attack, eps=EPS[norm] / 3, norm=norm)
        handle.remove()
        with torch.no_grad():
            seen[attack] = iterates, network(found).argmax(1) == label
    assert all(torch.equal(one, other) for one, other in zip(seen["pgd"][0][-21:], seen["apgd"][0][-102:]))
    assert 0 < seen["pgd"][1].sum() < 24
    assert not (seen["apgd"][1] & ~seen["pgd"][1]).any()
    assert len(seen["apgd"][0]) == len(seen["apgd(scout=0)"][0]) + 1, "one look at where scouting ends"


@pytest.mark.fault("F12")
@pytest.mark.parametrize("targets", [0, 3])
def test_no_more_classes_than_there_are(images, targets) -> None:
    """Three classes: the targeted ratio needs four, so that is refused in one line and the plain margin works."""
    network = small(classes=3)
    label = network(images).argmax(1)
    if targets:
        with pytest.raises(UsageError, match="needs 4 classes, there are 3"):
            brittle.attack(network, images, label, attack="apgd(objective=dlr, targets=3)")
    moved = brittle.attack(
        network, images, label, attack=f"apgd(objective=dlr(normalised=false), targets={targets})", eps=2 / 255
    )
    assert (network(moved).argmax(1) != label).any()


def test_a_target_needs_an_objective_with_a_rank(images) -> None:
    with pytest.raises(UsageError, match="no target class"):
        brittle.attack(small(), images, torch.zeros(24, dtype=torch.long), attack="apgd(targets=2)")


def test_a_target_class_is_climbed_towards(images) -> None:
    network = small()
    label = torch.full((24,), 4)
    moved = brittle.attack(network, images, label, attack="pgd(objective=targeted(label=1), keep=last)", eps=16 / 255)
    with torch.no_grad():
        before, after = (network(x).softmax(1)[:, 1] for x in (images, moved))
    assert (after > before).all()


@pytest.mark.parametrize("attack", ["pgd", "apgd"])
def test_of_a_targeted_climb_the_iterate_nearest_the_target_is_kept(images, attack) -> None:
    """Not the one of highest task loss: away from the truth is not towards the target."""
    network, seen = small(), []
    label = network(images).argmax(1)
    handle = network.register_forward_hook(lambda _module, _inputs, output: seen.append(output.detach()))
    found = brittle.attack(network, images, label, attack=f"{attack}(objective=targeted(label=1))", eps=6 / 255)
    handle.remove()
    climbed = torch.stack(seen[-21 if attack == "pgd" else -102 :])  # [T, B, K]
    with torch.no_grad():
        logits = network(found)
    aimed = label != 1
    there = (climbed.argmax(2) == 1).any(0)
    assert torch.equal((logits.argmax(1) == 1)[aimed], there[aimed]), "whatever arrived once is kept"
    assert there[aimed].any()
    assert not there[aimed].all()
    chance = climbed.log_softmax(2)[..., 1].amax(0)
    torch.testing.assert_close(logits.log_softmax(1)[:, 1][aimed], chance[aimed], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", EPS)
def test_shrinking_balls_never_leave_the_threat(images, norm) -> None:
    network = small()
    label = network(images).argmax(1)
    moved = brittle.attack(network, images, label, attack="apgd(shrink=true, steps=20)", eps=EPS[norm], norm=norm)
    assert Threat(norm, EPS[norm]).violation(images, moved).max() <= 1e-6


def test_one_forward_and_one_backward_a_step_and_one_forward_more(images) -> None:
    network, calls = small(), {"forward": 0, "backward": 0}
    network.register_forward_hook(lambda *_: calls.update(forward=calls["forward"] + 1))
    network.register_full_backward_hook(lambda *_: calls.update(backward=calls["backward"] + 1))
    brittle.attack(network, images, torch.zeros(24, dtype=torch.long), attack="apgd(steps=10, scout=0)")
    assert calls == {"forward": 11, "backward": 10}


# --- ensembles --------------------------------------------------------------------------------------------------------


class Bent(nn.Module):
    """Per-pixel outputs, 1 channel of positive metres or C of logits."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.GELU(), nn.Conv2d(8, channels, 3, padding=1))
        self.metres = channels == 1

    def forward(self, images: Tensor) -> Tensor:
        found = self.layers(images)
        return 0.1 + 5 * nn.functional.softplus(found) if self.metres else 8 * (20 * found).sin()


def damage(task_name: str, network: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    task = components.build("tasks", task_name)
    with torch.no_grad():
        return task.damage(task.score(network(images), target))


CASES = {
    "classification": (small(), "worst(attacks=[pgd, apgd, noise])", ["pgd", "apgd", "noise"]),
    "segmentation": (
        Bent(4),
        "sea(steps=20)",
        ["segpgd", "cospgd", "segpgd(steps=60)", "cospgd(steps=60)"]
        + [
            f"apgd(objective={loss}, steps=20, shrink=true, keep=score)"
            for loss in ("masked_ce(balanced=true)", "masked_ce", "js")
        ],
    ),
    "depth": (
        Bent(1),
        "depth_worst(steps=10)",
        ["depthpgd", "cospgd"]
        + [
            f"apgd(objective={loss}, steps=10, keep=score)"
            for loss in ("mse", "l1", "silog", "log_bias(direction=up)", "log_bias(direction=down)", "cospgd")
        ],
    ),
}


@pytest.mark.parametrize("task", CASES)
def test_an_ensemble_is_the_worst_of_its_members_image_by_image(images, task) -> None:
    network, ensemble, members = CASES[task]
    with torch.no_grad():
        clean = network(images)
    target = clean.argmax(1) if clean.shape[1] > 1 else clean + 0.2

    def hurt(attack: str) -> Tensor:
        return damage(
            task,
            network,
            brittle.attack(
                network,
                images,
                target,
                attack=attack,
                task=task,
                eps=0.5 / 255 if task == "classification" else 2 / 255,
            ),
            target,
        )

    each = torch.stack([hurt(member) for member in members])
    if task == "classification":
        torch.testing.assert_close(hurt(ensemble), each.amax(0), rtol=1e-5, atol=1e-6)
    else:  # the last climbs go on from there
        assert (hurt(ensemble) >= each.amax(0) - 1e-6).all()
    assert (each.amax(0) > each.amin(0)).any(), "all members alike: nothing was shown"


class TwoPixels(Encoder):
    """The first two values of an image, by a product that autocast takes in bfloat16, where 0.4999 and 0.5001 are one
    number."""

    def __init__(self) -> None:
        super().__init__(2, 8, size=8, mean=(0.0,) * 3, std=(1.0,) * 3, about={})

    def forward(self, images: Tensor) -> Features:
        pooled = nn.functional.linear(self.normalise(images).flatten(1)[:, :2], torch.eye(2))
        return Features(pooled, pooled[:, :, None, None])


def test_an_ensemble_is_judged_in_float32_whatever_its_members_run_in() -> None:
    clean = torch.full((1, 3, 8, 8), 0.5)
    wrong = clean.clone()
    clean[0, 0, 0, 1], wrong[0, 0, 0, 1] = 0.4999, 0.5001
    model = Model(components.build("tasks", "classification"), lambda features, _size: features.pooled, TwoPixels())
    model.bf16, fast = True, []

    def member(model: Model, *_others: object) -> Tensor:
        fast.append(model.bf16)
        return wrong

    batch = Batch(clean, torch.tensor([0]), ["a"])
    assert torch.equal(model(clean), model(wrong)), "in bfloat16 they are alike"
    found = ensemble.worst_of([member, member], model, batch, Threat("linf", 0.1), Rng(0, batch.ids))
    assert torch.equal(found, wrong)
    assert fast == [True], "it was beaten, so the second was not asked"
    assert model.bf16


def test_keep_score_has_the_lowest_pixel_accuracy_and_keep_best_the_highest_loss(images) -> None:
    network = Bent(4)
    target = network(images).argmax(1)
    found = {
        keep: brittle.attack(network, images, target, attack=f"apgd(keep={keep})", task="segmentation", eps=4 / 255)
        for keep in ("score", "best")
    }
    wrong = {keep: damage("segmentation", network, moved, target) for keep, moved in found.items()}
    with torch.no_grad():
        loss = {
            keep: nn.functional.cross_entropy(network(moved), target, reduction="none").mean((1, 2))
            for keep, moved in found.items()
        }
    assert (wrong["score"] >= wrong["best"]).all()
    assert (loss["best"] >= loss["score"]).all()
    assert (wrong["score"] > wrong["best"]).any()


def test_void_everywhere_stays_clean(images) -> None:
    target = torch.full((24, 8, 8), VOID)
    moved = brittle.attack(Bent(4), images, target, attack="sea(steps=5)", task="segmentation")
    assert torch.equal(moved, images)
