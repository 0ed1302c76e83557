"""Models whose robustness is an illusion are flagged, each of them, and honest ones are not; in the Python words and in
a run."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import brittle
from brittle.core import components
from brittle.core.errors import UsageError
from brittle.core.records import Finding
from brittle.reports.parts import wording
from brittle.types import Encoder, Features, Model, frozen

SIDE, CLASSES, EPS = 16, 4, 12 / 255
BUDGETS = {"linf": EPS, "l2": 0.5, "l1": 8.0}


def _images(count: int, seed: int = 0, side: int = SIDE) -> tuple[Tensor, Tensor]:
    """Noisy images, a quarter of each brighter than the rest: which quarter is the label."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 + 0.25 * torch.rand(count, 3, side, side, generator=generator)
    label = torch.randint(0, CLASSES, (count,), generator=generator)
    half = side // 2
    for image, quarter in zip(images, label.tolist()):
        rows, columns = (slice(half * place, half * place + half) for place in divmod(quarter, 2))
        image[:, rows, columns] += 0.12
    return images, label


def _maps(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Images of a bright disc, the mask of it, and a depth that falls with brightness."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 + 0.2 * torch.rand(count, 3, SIDE, SIDE, generator=generator)
    centre = 4 + 8 * torch.rand(count, 2, 1, 1, generator=generator)
    across = torch.arange(SIDE).view(1, 1, SIDE)
    mask = ((across - centre[:, 0]) ** 2 + (across.mT - centre[:, 1]) ** 2 < 16).long()
    images = images + 0.3 * mask[:, None]
    return images, mask, 4.0 - 2.0 * mask[:, None].float()


def _trained(
    model: nn.Module, images: Tensor, loss: Callable[[Tensor], Tensor], steps: int = 60, rate: float = 1e-2
) -> nn.Module:
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(model(images)).backward()
        optimiser.step()
    return model.eval()


def _cnn(
    activation: Callable[[], nn.Module] = nn.ReLU, norm: Callable[[int], nn.Module] = lambda _: nn.Identity()
) -> nn.Sequential:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 12, 3, 2, 1), norm(12), activation(), nn.Conv2d(12, 24, 3, 2, 1), norm(24), activation()]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(24 * 16, CLASSES))


def _classifier(model: nn.Module, steps: int = 60, rate: float = 1e-2) -> nn.Module:
    images, label = _images(128, 1)
    return _trained(model, images, lambda logits: nn.functional.cross_entropy(logits, label), steps, rate)


@cache
def _good() -> nn.Module:
    return _classifier(_cnn())


# --- faults, each put into a sound model ------------------------------------------------------------------------------


class Signs(nn.Module):
    """Activations of -1 and 1, whose slope is taken as 1 in training only."""

    def forward(self, x: Tensor) -> Tensor:
        signs = torch.where(x > 0, 1.0, -1.0)
        return signs + (x - x.detach()).clamp(-1, 1) if self.training else signs


class Drifting(nn.Module):
    """One logit grows a little with every call."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.calls = model, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.model(x) + 0.01 * self.calls * torch.eye(CLASSES)[0]


class Undying(nn.Dropout):
    """Dropout that does not hear of evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.5, training=True)


class OfTheBatch(nn.BatchNorm2d):
    """Batch norm with the statistics of the batch, whatever the mode."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.batch_norm(x, None, None, self.weight, self.bias, training=True)


class OfTheBatch1d(nn.BatchNorm1d):
    """The same on vectors, which cannot even predict a single image."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.batch_norm(x, None, None, self.weight, self.bias, training=True)


def _with(layer: nn.Module) -> nn.Module:
    return nn.Sequential(*_good()[:-1], layer, _good()[-1])


ONE = torch.eye(CLASSES)[0]
# of a good model a bad one, and the check that says so
BAD: dict[str, tuple[Callable[[nn.Module], Callable[[Tensor], Tensor]], str]] = {
    "nan output": (lambda good: lambda x: good(x) * torch.nan, "nonfinite"),
    "infinite output for some": (
        lambda good: lambda x: good(x) / (x.flatten(1).mean(1, keepdim=True) > 0.455),
        "nonfinite",
    ),
    "zero gradient by detaching": (lambda good: lambda x: good(x.detach()), "gradient"),
    "zero gradient by rounding": (lambda good: lambda x: (good(x) * 4).round() / 4, "gradient"),
    "softmax of saturated logits": (lambda good: lambda x: (good(x) * 50).softmax(1), "softmax"),
    "softmax of plain logits": (lambda good: lambda x: good(x).softmax(1), "softmax"),
    "saturated logits": (lambda good: lambda x: good(x) * 1e4, "gradient"),
    "random output": (lambda good: lambda x: (y := good(x)) + 0.5 * torch.randn_like(y), "repeat"),
    "random input": (lambda good: lambda x: good(x + 0.05 * torch.randn_like(x)), "repeat"),
    "8-bit input": (lambda good: lambda x: good((x * 255).round() / 255), "gradient"),
    "dropout in training mode": (lambda _: _with(Undying()), "repeat"),
    "batch norm in training mode": (lambda _: _classifier(_cnn(norm=OfTheBatch)), "repeat"),
    "batch norm of vectors": (lambda _: _with(OfTheBatch1d(24 * 16)), "repeat"),
    "output that drifts": (Drifting, "repeat"),
    "sign activations": (lambda _: _classifier(_cnn(activation=Signs)), "gradient"),
    "one class for all": (lambda good: lambda x: 0.01 * good(x) + ONE, "degenerate"),
    "blind to its input": (lambda good: lambda x: 1e-6 * good(x) + ONE, "degenerate"),
}


def _failed(findings: Sequence[Finding]) -> set[str]:
    return {finding.name for finding in findings if finding.verdict == "fail"}


@pytest.mark.fault("F17", "F26")
@pytest.mark.parametrize("name", BAD)
def test_known_bad_models_are_flagged(name: str) -> None:
    make, wanted = BAD[name]
    images, label = _images(24)
    findings = brittle.check(make(_good()), images, label, attack="pgd(steps=10)")
    assert wanted in _failed(findings), [f for f in findings if f.verdict != "ok"]


# --- sound models -----------------------------------------------------------------------------------------------------


def _vit() -> nn.Module:
    torch.manual_seed(0)
    body = timm.create_model("test_vit", num_classes=0, img_size=SIDE, patch_size=4, global_pool="").eval()
    images, label = _images(256, 1)
    with torch.no_grad():
        features = body(images).flatten(1)
    head = nn.Linear(features.shape[1], CLASSES)
    _trained(head, features, lambda logits: nn.functional.cross_entropy(logits, label), steps=200, rate=0.01)
    return nn.Sequential(body, nn.Flatten(), head)


def _linear() -> nn.Module:
    torch.manual_seed(0)
    return _classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES)))


def _robust() -> nn.Module:
    """Adversarially trained with a single step."""
    images, label = _images(128, 1)
    model = _cnn()
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        attacked = brittle.attack(model, images, label, attack="pgd(steps=1, step=1.25)", eps=EPS / 2)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(attacked), label).backward()
        optimiser.step()
    return model.eval()


def _dense(outputs: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 5, padding=2), nn.GELU(), nn.Conv2d(16, outputs, 3, padding=1))


def _segmenter() -> nn.Module:
    images, mask, _ = _maps(64, 1)
    return _trained(_dense(2), images, lambda logits: nn.functional.cross_entropy(logits, mask))


def _depth() -> nn.Module:
    images, _, metres = _maps(64, 1)
    model = nn.Sequential(_dense(1), nn.Softplus())
    return _trained(model, images, lambda found: (found - metres).abs().mean())


GOOD: dict[str, tuple[Callable[[], nn.Module], dict[str, str]]] = {
    "small cnn": (_good, {}),
    "cnn with batch norm": (lambda: _classifier(_cnn(norm=nn.BatchNorm2d)), {}),
    "vit": (_vit, {}),
    "linear": (_linear, {}),
    "robustly trained": (_robust, {}),
    "segmentation": (_segmenter, {"task": "segmentation", "attack": "segpgd"}),
    "depth": (_depth, {"task": "depth", "attack": "depthpgd"}),
}


def _targets(task: str, count: int = 24) -> tuple[Tensor, Tensor]:
    maps = _maps(count)
    return {"classification": _images(count), "segmentation": maps[:2], "depth": (maps[0], maps[2])}[task]


@pytest.mark.parametrize("norm", BUDGETS)
@pytest.mark.parametrize("name", GOOD)
def test_good_models_are_not_flagged(name: str, norm: str) -> None:
    make, words = GOOD[name]
    images, target = _targets(words.get("task", "classification"))
    findings = brittle.check(make(), images, target, norm=norm, eps=BUDGETS[norm], **words)  # type: ignore[arg-type]
    assert not _failed(findings), [f for f in findings if f.verdict == "fail"]
    assert {finding.name for finding in findings} < set(components.names("checks"))


@pytest.mark.parametrize("name", GOOD)
def test_nor_by_the_costly_checks(name: str) -> None:
    make, words = GOOD[name]
    images, target = _targets(words.get("task", "classification"))
    findings = brittle.check(make(), images, target, eps=EPS, full=True, **words)  # type: ignore[arg-type]
    assert not _failed(findings), [f for f in findings if f.verdict == "fail"]
    assert {finding.name for finding in findings} == set(components.names("checks"))


@pytest.mark.parametrize(
    "attack", ["noise", "apgd(steps=10)", "worst(attacks=[pgd(steps=5), noise])", "pgd(steps=10, keep=last)"]
)
def test_nor_for_another_attack(attack: str) -> None:
    images, label = _images(24)
    assert not _failed(brittle.check(_good(), images, label, attack=attack, full=True))
    assert not _failed(brittle.check(_good(), images, label, attack=attack, eps=0))


# --- an attack that is too weak, an encoder alone, and what is refused ------------------------------------------------


def _say(findings: Sequence[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


def test_weak_attacks_are_said_to_be_weak() -> None:
    images, label = _images(160)
    short = brittle.check(_good(), images, label, attack="pgd(steps=8, step=0.1)", eps=EPS, full=True)
    assert _say(short, "converged").verdict == "warn"
    assert _say(short, "steps").verdict == "fail"
    none = brittle.check(_good(), images, label, attack="pgd(steps=0)")
    assert _say(none, "start").verdict == "fail"


def _half_adversarial(eps: float) -> nn.Module:
    """Trained on batches of which one half is clean and the other attacked by a single step."""
    torch.manual_seed(0)
    widths = [(3, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1)]
    body = [layer for a, b, stride in widths for layer in (nn.Conv2d(a, b, 3, stride, 1), nn.ReLU())]
    model = nn.Sequential(*body, nn.Flatten(), nn.Linear(32 * 16, CLASSES))
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    images, label = _images(128, 1)
    for _ in range(300):
        order = torch.randperm(len(images))
        batch, wanted = images[order], label[order]
        attacked = batch[:64].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(attacked), wanted[:64]), attacked)
        batch[:64] = (batch[:64] + eps * gradient.sign()).clamp(0, 1)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(batch), wanted).backward()
        optimiser.step()
    return model.eval()


def test_a_model_trained_on_half_adversarial_batches_is_no_more_robust_than_the_attack_is_weak() -> None:
    """Batches half clean, half attacked by one step (Kurakin, Goodfellow and Bengio 2017) teach a model to hide its
    gradient from that step (Tramer et al. 2018; Wong, Rice and Kolter 2020: catastrophic overfitting), and on masks to
    stand up to weak attacks alone (Halmosi, Toth and Jelasity 2024). The step that it was trained against says that it
    is robust; the quick checks call that step weak, the costly ones wrong. An attack of 20 steps leaves nothing, and no
    check has a word against it."""
    eps = 24 / 255
    model, (images, label) = _half_adversarial(eps), _images(96)
    assert (model(images).argmax(1) == label).float().mean() > 0.95

    def right(attack: str) -> float:
        found = brittle.attack(model, images, label, attack=attack, eps=eps)
        return (model(found).argmax(1) == label).float().mean().item()

    def said(attack: str, full: bool) -> Sequence[Finding]:
        return brittle.check(model, images, label, attack=attack, eps=eps, full=full)

    weak, strong = "pgd(steps=1, step=1, random_start=false)", "pgd(steps=20)"
    assert right(weak) > 0.6
    assert right(strong) < 0.1
    assert {finding.name for finding in said(weak, full=False) if finding.verdict == "warn"} >= {"converged", "start"}
    assert _failed(said(weak, full=True)) >= {"blackbox", "steps"}
    assert not [finding for finding in said(strong, full=True) if finding.verdict in ("warn", "fail")]


class Small(Encoder):
    """An encoder without a head; ``fault`` is done to its features."""

    def __init__(self, fault: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__(24, 4, size=SIDE, mean=(0.5,) * 3, std=(0.25,) * 3, about={})
        self.body, self.fault = _cnn()[:-2], fault

    def forward(self, images: Tensor) -> Features:
        grid = self.fault(self.body(self.normalise(images)))
        return Features(grid.mean((2, 3)), grid)


def test_an_encoder_alone_is_checked_by_how_far_it_moves() -> None:
    images, _ = _images(24)
    for attack in ("embed(steps=40, restarts=3)", "noise"):
        assert not _failed(brittle.check(Small(), images, attack=attack, full=True))
    faults: dict[str, Callable[[Tensor], Tensor]] = {
        "gradient": torch.round,
        "repeat": lambda x: x + 0.1 * torch.randn_like(x),
        "nonfinite": lambda x: x * torch.nan,
        "degenerate": lambda x: x * 0 + 1,
    }
    for name, fault in faults.items():
        assert name in _failed(brittle.check(Small(fault), images, attack="embed(steps=10)")), name


def test_what_makes_no_sense_is_refused() -> None:
    images, label = _images(4)
    for arguments in ((_good(), images), (_good(), images, label + CLASSES), (Small(), images)):
        with pytest.raises(UsageError):
            brittle.check(*arguments)
    with pytest.raises(UsageError, match="target"):
        brittle.check(_good(), images, attack="noise")


def test_findings_repeat_themselves() -> None:
    images, label = _images(16)
    for model in (_good(), BAD["random output"][0](_good())):
        torch.manual_seed(0)
        first = brittle.check(model, images, label, attack="pgd(steps=3)")
        torch.manual_seed(0)
        assert brittle.check(model, images, label, attack="pgd(steps=3)") == first


def test_a_model_is_left_as_it_was() -> None:
    model = nn.Sequential(_cnn(norm=nn.BatchNorm2d)).train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    images, label = _images(8)
    before = torch.random.get_rng_state()
    brittle.check(model, images, label, attack="pgd(steps=2)")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.training
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


# --- the same through a run -------------------------------------------------------------------------------------------

SOURCE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, fault):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.GELU(), nn.Conv2d(16, 24, 3, padding=1))
        self.fault = fault

    def forward(self, x):
        if self.fault == "detached":
            x = x.detach()
        if self.fault == "zero":
            x = (x * 255).round() / 255
        y = self.net(x)
        return y + 0.3 * torch.randn_like(y) if self.fault == "random" else y


def sound():
    return Net("")


def zero():
    return Net("zero")


def random():
    return Net("random")


def detached():
    return Net("detached")
"""


@pytest.mark.fault("F17")
def test_a_run_marks_what_is_not_to_be_trusted(tmp_path: Path) -> None:
    path = tmp_path / "faults.py"
    path.write_text(SOURCE, encoding="utf8")
    names = {name: f"py:{path}:{name}(size=16)" for name in ("sound", "zero", "random", "detached")}
    data, folder = "scenes(train=64, val=32, test=32, size=16)", tmp_path / "run"
    results = brittle.run(list(names.values()), [data], ["segmentation"], ["segpgd(steps=5)"], output_dir=folder)
    found = {
        (name, result.cell.attack is None): result
        for name, text in names.items()
        for result in results
        if result.cell.encoder == text
    }
    for name in names:
        assert not _failed(found[name, True].findings)  # a clean row may say that its head could be better
        assert not wording.text(found[name, True]).endswith(("!", "?"))
    assert {name: wording.text(found[name, False])[-1] for name in names} == {
        "sound": "]",
        "zero": "!",
        "random": "!",
        "detached": "d",
    }
    assert _failed(found["zero", False].findings) >= {"gradient"}
    assert _failed(found["random", False].findings) >= {"repeat"}
    assert "gradient: none reaches the pixels" in str(found["detached", False].failed)
    report = (folder / "report" / "report.md").read_text(encoding="utf8")
    assert [line for line in report.splitlines() if line.startswith("- fail: gradient: ") and "faults.py:zero" in line]
    unchecked = brittle.run(
        [names["zero"]], [data], ["segmentation"], ["segpgd(steps=5)"], output_dir=tmp_path / "none", checks="none"
    )
    assert wording.text(unchecked[1]).endswith(" ?")


def test_the_hardened_encoder_that_comes_with_the_package_is_not_flagged(tmp_path: Path) -> None:
    data = "scenes(train=64, val=32, test=16)"
    results = brittle.run(
        ["embedded:deacl"], [data], ["classification"], ["pgd(steps=10)", "embed(steps=10)"], output_dir=tmp_path
    )
    assert [_failed(result.findings) for result in results] == [set()] * 3
    assert all(result.findings for result in results if result.cell.attack)


def test_models_in_a_model_are_frozen_for_checks_too() -> None:
    model = Model(
        components.build("tasks", "classification"),
        nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * SIDE * SIDE, CLASSES)),
    )
    images, label = _images(8)
    with frozen(model):
        pass
    assert "repeat" not in _failed(brittle.check(model.train(), images, label, attack="pgd(steps=2)"))
