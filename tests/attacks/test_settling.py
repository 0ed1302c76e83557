"""Images that have nothing left to do leave the batch: the same ones are beaten, for a fraction of the passes."""

import pytest
import torch
from tiny import tiny_batch, tiny_model
from torch import Tensor, nn

from brittle.attacks.parts.run import attacked
from brittle.attacks.parts.slope import pauses
from brittle.core import components
from brittle.core.errors import CellError
from brittle.types import Batch, Model, frozen
from brittle.types.attack_log import AttackLog
from brittle.types.rng import Rng
from brittle.types.threat import Threat

COUNT = 24
EPS = {"linf": 0.03, "l2": 0.5, "l1": 4.0}
CLIMBS = ["pgd", "pgd(keep=score)", "pgd(keep=fooled, restarts=2)", "pgd(objective=targeted)", "apgd(steps=30)"]
CLIMBS += ["apgd(steps=30, restarts=2, shrink=true)", "apgd(objective=dlr, targets=3, steps=12)", "padam(steps=20)"]
CLIMBS += [
    "pgd(restarts=3)",
    "fab(steps=12, targets=3)",
    "autoattack(steps=12, queries=40)",
    "worst(attacks=[pgd, padam])",
]


class Counted(nn.Module):
    """A small classifier that counts the images it sees; without one of them nothing about another changes."""

    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.first = nn.Parameter(torch.randn(24, 3 * 64, generator=generator) / 8)
        self.second = nn.Parameter(torch.randn(classes, 24, generator=generator) * 1.5)
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        hidden = (images.flatten(1)[:, None] * self.first).sum(
            2
        )  # not a product of matrices, which rounds by the batch
        return (torch.nn.functional.gelu(hidden)[:, None] * self.second).sum(2)


@pytest.fixture
def network() -> Counted:
    return Counted()


@pytest.fixture
def batch(network: Counted) -> Batch:
    images = (torch.rand(COUNT, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 255).round() / 255
    with torch.no_grad():
        labels = network(images).argmax(1)
    labels[:2] = (labels[:2] + 1) % 6  # wrong from the start
    return Batch(images, labels, [str(i) for i in range(COUNT)])


def made(
    network: Counted, batch: Batch, attack: str, norm: str, settles: bool, log: AttackLog | None = None
) -> tuple[Tensor, int]:
    """The attacked images, and how many images the network saw for them."""
    model, network.seen = Model(components.build("tasks", "classification"), network), 0
    threat, rng = Threat(norm, EPS[norm]), Rng(0, batch.ids)  # type: ignore[arg-type]
    how = {"log": log} if log else {}
    with frozen(model):
        images = attacked(model, attack, batch, threat, rng, precision="fp32", settles=settles, **how)
    assert (threat.violation(batch.images, images) <= 1e-6).all()
    return images, network.seen


@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("attack", CLIMBS)
def test_the_same_images_are_beaten_for_fewer_passes(network: Counted, batch: Batch, attack: str, norm: str) -> None:
    if attack.startswith("fab") and norm == "l1":
        attack = attack.replace("steps=12", "steps=20")
    (whole, cost), (short, spent) = (made(network, batch, attack, norm, settles) for settles in (False, True))
    aim = components.build("objectives", "targeted", Model(components.build("tasks", "classification"), network), batch)
    with torch.no_grad():
        wanted = aim.aim if "targeted" in attack else batch.target
        beaten = [(network(images).argmax(1) == wanted) == ("targeted" in attack) for images in (whole, short)]
    assert torch.equal(*beaten)
    assert beaten[0].sum() > 4, "enough to tell"
    assert spent < (0.95 if beaten[0].sum() < COUNT / 2 else 0.8) * cost


def test_what_has_not_succeeded_is_attacked_as_ever(network: Counted, batch: Batch) -> None:
    for attack in ("pgd", "apgd(steps=30)", "padam(steps=20)"):
        whole, short = (made(network, batch, attack, "linf", settles)[0] for settles in (False, True))
        with torch.no_grad():
            stand = network(short).argmax(1) == batch.target
        assert 0 < stand.sum() < COUNT
        assert torch.equal(whole[stand], short[stand])
        assert not torch.equal(whole[~stand], short[~stand]), "those are taken as they first succeed"


def test_the_last_iterate_is_the_last(network: Counted, batch: Batch) -> None:
    (whole, cost), (short, spent) = (
        made(network, batch, "pgd(keep=last)", "linf", settles) for settles in (False, True)
    )
    assert torch.equal(whole, short)
    assert cost == spent


def test_a_followed_attack_is_followed_to_its_end(network: Counted, batch: Batch) -> None:
    seen: list[Tensor] = []
    made(network, batch, "pgd(steps=9)", "linf", True, AttackLog(watch=seen.append))
    assert [len(images) for images in seen] == [COUNT] * 10


def test_the_log_goes_on_with_what_an_image_had(network: Counted, batch: Batch) -> None:
    log = AttackLog()
    images, _ = made(network, batch, "pgd", "linf", True, log)
    summary = log.summary(COUNT)
    with torch.no_grad():
        left = network(images).argmax(1) != batch.target
    assert all(summary[name].isfinite().all() for name in ("loss_first", "loss_late", "loss_last", "loss_best"))
    assert torch.equal(summary["loss_late"][left], summary["loss_last"][left]), "they had left before"
    assert (summary["loss_last"] > summary["loss_first"]).float().mean() > 0.9
    assert (summary["flat"] == 0).all()


def test_what_warm_starts_have_beaten_is_not_attacked_again(network: Counted, batch: Batch) -> None:
    first = made(network, batch, "pgd", "linf", False)[0]
    (whole, cost), (short, spent) = (
        made(network, batch._replace(start=first), "warm(attack=apgd, eps=[0.01])", "linf", settles)
        for settles in (False, True)
    )
    with torch.no_grad():
        beaten = [network(images).argmax(1) != batch.target for images in (whole, short)]
    assert torch.equal(*beaten)
    assert spent < 0.7 * cost


def test_warm_starts_of_an_ensemble_are_logged_image_by_image(network: Counted, batch: Batch) -> None:
    log = AttackLog()
    made(network, batch, "warm(attack='autoattack(steps=6, queries=8)', eps=[0.005, 0.01])", "linf", True, log)
    summary = log.summary(COUNT)
    assert summary["loss_first"].shape == (COUNT,)
    assert summary["loss_last"][2:].isfinite().all(), "all but those that were wrong from the start were climbed for"
    assert (summary["loss_best"][2:] >= summary["loss_first"][2:]).all()


class Band(nn.Module):
    """Wrong where red lies in a band that no 8-bit file can hold, or above a level that a climb reaches later."""

    def forward(self, images: Tensor) -> Tensor:
        red = 255 * images[:, 0].mean((1, 2))
        wrong = ((red > 128.2) & (red < 128.4)) | (red > 130.9)
        return torch.stack([red * 0, torch.where(wrong, 1.0, -1.0) + (red - red.detach())], 1)


def test_an_image_leaves_only_where_a_file_would_hold_it() -> None:
    images = torch.full((1, 3, 2, 2), 128 / 255)
    model = Model(components.build("tasks", "classification"), Band())
    attack = "pgd(steps=16, step=0.06, random_start=false, keep=fooled)"  # 0.3 of a level a step
    found, threat = [], Threat("linf", 5 / 255)
    for settles in (False, True):
        batch = Batch(images, torch.zeros(1, dtype=torch.long), ["a"])
        with frozen(model):
            found.append(attacked(model, attack, batch, threat, Rng(0, ["a"]), precision="fp32", settles=settles))
    assert (255 * found[1][0, 0] > 130.9).all(), "not the first success, which rounding undoes"
    assert model(threat.to_8bit(images, found[1])).argmax(1) == 1


def test_what_bfloat16_takes_for_a_success_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 this model is wrong at once, in float32 only after some steps."""

    class Coarse(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            red = 255 * images[:, 0].mean((1, 2))
            return torch.stack([red * 0, red - (100.0 if model.bf16 else 130.5)], 1)

    model = Model(components.build("tasks", "classification"), Coarse())
    images = torch.full((1, 3, 2, 2), 128 / 255)
    batch = Batch(images, torch.zeros(1, dtype=torch.long), ["a"])
    with frozen(model):
        attack = "pgd(steps=12, step=0.1, random_start=false)"
        found = attacked(model, attack, batch, Threat("linf", 5 / 255), Rng(0, ["a"]), precision="bf16", settles=True)
    assert (255 * found[0, 0] > 130.5).all()


class Threshold(nn.Module):
    """Two classes a pixel by its red, without a gradient where none of an image is right any more."""

    def __init__(self, flat: bool) -> None:
        super().__init__()
        self.flat, self.seen = flat, 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        lead = 20 * (images[:, :1] - 0.5)
        if self.flat:
            lead = torch.where((lead < 0).any((2, 3), keepdim=True), lead, lead.detach() + 0 * lead)
        return torch.cat([-lead, lead], 1)


@pytest.mark.parametrize("flat", [False, True])
def test_a_mask_leaves_only_without_a_gradient(flat: bool) -> None:
    network, count = Threshold(flat), 5
    images = 0.5 - 0.05 * torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images[0] -= 0.4
    batch = Batch(images, torch.zeros(count, 4, 4, dtype=torch.long), [str(i) for i in range(count)])
    model, seen, scores = Model(components.build("tasks", "segmentation"), network), [], []
    with frozen(model):
        for settles in (False, True):
            network.seen, threat = 0, Threat("linf", 0.2)
            rng = Rng(0, batch.ids)
            found = attacked(model, "pgd(keep=score)", batch, threat, rng, precision="fp32", settles=settles)
            seen.append(network.seen)
            scores.append(model.task.score(model(found), batch.target))
    assert scores[0].keys() == scores[1].keys()
    assert all(torch.equal(scores[0][key], scores[1][key]) for key in scores[0])
    assert model.task.damage(scores[1]).tolist()[1:] == [1.0] * (count - 1), "all but one have nothing right"
    assert (seen[1] < 0.7 * seen[0]) if flat else seen[1] == seen[0]


def test_depth_never_settles() -> None:
    model, batch = tiny_model("depth"), tiny_batch("depth", 4)
    calls: list[int] = []
    model.register_forward_hook(lambda _m, inputs, _o: calls.append(len(inputs[0])))
    with frozen(model):
        attacked(model, "pgd", batch, Threat("linf", 0.3), Rng(0, batch.ids), precision="fp32", settles=True)
    assert calls == [4] * 21


def test_a_number_that_is_none_after_images_have_left_is_noticed(network: Counted, batch: Batch) -> None:
    class Late(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits = network(images)
            return logits / (len(images) == COUNT)

    model = Model(components.build("tasks", "classification"), Late())
    with frozen(model), pytest.raises(CellError, match="nonfinite"):
        attacked(model, "pgd", batch, Threat("linf", 0.03), Rng(0, batch.ids), precision="fp32", settles=True)


def test_pauses() -> None:
    assert [n for n in range(1, 100) if pauses(n)] == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96]
