"""AutoAttack: never weaker than a member, image by image, with few classes too, and nothing spent on what has
fallen."""

import pytest
import torch
from torch import Tensor, nn

import brittle
from brittle.attacks.parts import ensemble
from brittle.core import components
from brittle.core.errors import UsageError
from brittle.core.tree import tree
from brittle.types import Batch, Model
from brittle.types.rng import Rng
from brittle.types.threat import Threat


def small(classes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(512, classes))
        with torch.no_grad():
            network[-1].bias -= network(torch.rand(64, 3, 8, 8)).mean(0)
            network[-1].weight *= 20
            network[-1].bias *= 20
    return network


@pytest.fixture
def images() -> Tensor:
    return torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("classes", "norm", "eps"),
    [(10, "linf", 0.4 / 255), (4, "linf", 0.5 / 255), (3, "l2", 0.03), (2, "linf", 0.5 / 255)],
)
def test_no_image_is_right_that_a_member_beats(images, classes, norm, eps) -> None:
    network = small(classes)
    label = network(images).argmax(1)

    def right(attack: str) -> Tensor:
        moved = brittle.attack(network, images, label, attack=attack, eps=eps, norm=norm)
        with torch.no_grad():
            return network(moved).argmax(1) == label

    ratio = f"dlr(normalised={'true' if classes > 3 else 'false'})"
    members = ["apgd(steps=10)", f"apgd(objective={ratio}, targets=9, steps=10)", "fab(steps=10)", "square(queries=50)"]
    each = torch.stack([right(member) for member in members])
    found = right("autoattack(steps=10, queries=50)")
    assert not (found & ~each.all(0)).any()
    assert torch.equal(found, each.all(0)), "and none is lost that no member beats"
    assert found.any() or classes != 10, "all fell: nothing was shown"


def test_what_has_fallen_goes_to_no_other_member(images) -> None:
    network = small(10)
    label = network(images).argmax(1)
    sizes: list[int] = []
    network.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    brittle.attack(network, images, label, attack="autoattack(steps=5, queries=20)", eps=1.0)
    assert sum(sizes) <= 16 * (5 + 1) + 16 * 3 + 1, "the first member beat them all"


def test_who_goes_on_does_so_with_the_own_target_name_and_start() -> None:
    """Image i is all i / 10 and of class i; the first member beats 0 and 2."""
    images = (torch.arange(4) / 10).view(4, 1, 1, 1).expand(4, 3, 2, 2).clone()
    model = Model(
        components.build("tasks", "classification"),
        lambda x: nn.functional.one_hot((10 * x).mean((1, 2, 3)).round().long(), 10).float(),
    )
    given: list[Batch] = []

    def first(_model: Model, batch: Batch, *_others: object) -> Tensor:
        moved = batch.images.clone()
        moved[[0, 2]] = 0.9
        return moved

    def second(_model: Model, batch: Batch, *_others: object) -> Tensor:
        given.append(batch)
        return batch.images

    batch = Batch(images, torch.arange(4), ["0", "1", "2", "3"], images + 0.01)
    found = ensemble.worst_of([first, second], model, batch, Threat("linf", 1.0), Rng(0, batch.ids))
    assert torch.equal(found, torch.where(torch.tensor([True, False, True, False]).view(4, 1, 1, 1), 0.9, images))
    (rest,) = given
    assert torch.equal(rest.images, images[[1, 3]])
    assert rest.target.tolist() == [1, 3]
    assert list(rest.ids) == ["1", "3"]
    assert torch.equal(rest.start, images[[1, 3]] + 0.01)  # type: ignore[arg-type]


# --- the published version --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.3 / 255), ("l1", 0.3)])
def test_the_standard_version_is_the_published_schedule(images, norm, eps) -> None:
    """Its own loop: each attack gets what is still right, what it beats is done, and all else stays clean."""
    network = small(10)
    label = network(images).argmax(1)
    label[:3] = (label[:3] + 1) % 10  # wrong from the start
    l1 = norm == "l1"
    settings = f"steps=10, scout=0, keep=fooled{', shrink=true' if l1 else ''}"
    members = [
        f"apgd({settings}{', restarts=5' if l1 else ''})",
        f"apgd(objective=dlr, targets={5 if l1 else 9}, {settings})",
        "fab(steps=10)",
        "square(queries=51)",
    ]
    wanted, names, counts = images.clone(), [str(i) for i in range(16)], []
    with torch.no_grad():
        left = (network(images).argmax(1) == label).nonzero().flatten()
    for member in members:
        counts.append(len(left))
        ids = [names[i] for i in left]
        found = brittle.attack(network, images[left], label[left], attack=member, eps=eps, norm=norm, ids=ids)
        with torch.no_grad():
            fell = network(found).argmax(1) != label[left]
        wanted[left[fell]], left = found[fell], left[~fell]
    assert counts[0] == 13 > counts[1], "the first member beats some"
    assert len(left) > 0
    text = "autoattack(steps=10, queries=50, version=standard)"
    torch.testing.assert_close(
        brittle.attack(network, images, label, attack=text, eps=eps, norm=norm, ids=names), wanted, rtol=0, atol=1e-6
    )
    assert torch.equal(wanted[left], images[left])
    house = brittle.attack(network, images, label, attack="autoattack(steps=10, queries=50)", eps=eps, norm=norm)
    assert not torch.equal(house[left], images[left]), "the house's version returns the image of highest loss"


def test_the_standard_version_is_refused_where_the_published_code_stops(images) -> None:
    network = small(9)
    with pytest.raises(UsageError, match="aims at 9 wrong classes, there are 8; take version=house"):
        brittle.attack(network, images, torch.zeros(16).long(), attack="autoattack(version=standard)")


def test_its_members_have_the_published_settings() -> None:
    """As in the code of Croce and Hein's AutoAttack: 100 steps, one restart, 9 targets, 5,000 queries after the first
    stripes; in l1 5 restarts and 5 targets."""
    parts = [part.spec for part in tree("attacks", "autoattack(version=standard)").walk()]
    settings = {part.name: part.settings for part in parts if part.name in ("fab", "square")}
    first, second = (part.settings for part in parts if part.name == "apgd")
    for each in (first, second):
        assert (each["steps"], each["restarts"], each["scout"], each["keep"]) == (100, 1, 0, "fooled")
    assert (first["targets"], second["targets"], first["objective"]) == (0, 9, "task_loss")
    assert (settings["fab"]["targets"], settings["fab"]["steps"], settings["fab"]["restarts"]) == (9, 100, 1)
    assert (settings["square"]["queries"], settings["square"]["p_init"]) == (5001, 0.8)


def test_fooled_keeps_the_last_iterate_that_is_wrong_else_the_clean_image(images) -> None:
    network, seen = small(10), []
    label = network(images).argmax(1)
    handle = network.register_forward_hook(lambda _module, inputs, scores: seen.append((inputs[0].detach(), scores)))
    found = brittle.attack(network, images, label, attack="pgd(steps=8, keep=fooled)", eps=0.3 / 255)
    handle.remove()
    wanted = images.clone()
    for moved, scores in seen[-9:]:
        wrong = scores.argmax(1) != label
        wanted[wrong] = moved[wrong]
    assert torch.equal(found, wanted)
    assert 0 < (wanted != images).flatten(1).any(1).sum() < 16
    with pytest.raises(UsageError, match="keep=fooled: a prediction of depth is never right or wrong"):
        brittle.attack(
            lambda x: 1 + x.mean(1, keepdim=True),
            images,
            torch.ones(16, 1, 8, 8),
            attack="pgd(keep=fooled)",
            task="depth",
        )
