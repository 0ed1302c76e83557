"""Compiled encoders give what the encoder gives, or are not used, and that is said."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brittle.core.errors import UsageError
from brittle.core.records import Cell
from brittle.evaluation import compiled as compiling
from brittle.evaluation.compiled import Compiled, worth
from brittle.evaluation.machine import Machine
from brittle.evaluation.measure import encoder_of, measure
from brittle.evaluation.paper import protocol_on
from brittle.planning.identity import resolve, task_of
from brittle.types import FINAL, Encoder, Features, Look, frozen, windows

Cells = Callable[..., Cell]


class Small(Encoder):
    """A convolution and a matrix."""

    def __init__(self) -> None:
        super().__init__(6, 4, size=16, mean=[0.5] * 3, std=[0.5] * 3, about={"source": "small"})
        torch.manual_seed(0)
        self.cells, self.mix = nn.Conv2d(3, 6, 4, stride=4), nn.Linear(6, 6)

    def forward(self, images: Tensor) -> Features:
        tokens = self.mix(torch.tanh(self.cells(self.normalise(images))).movedim(1, -1))
        return Features(tokens.mean((1, 2)), tokens.movedim(-1, 1))

    def attention_at(self, images: Tensor, index: int) -> Tensor:
        return images.mean((1, 2, 3)) * index


class Branching(Small):
    """Does what no compiler can follow."""

    def forward(self, images: Tensor) -> Features:
        found = super().forward(images)
        return found if float(images.detach().mean()) > 2 else Features(2 * found.pooled, found.grid)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")  # all but the making of kernels
    compiling.compiled.cache_clear()


def gradient(encoder: Encoder, images: Tensor, bf16: bool = False, look: Look = FINAL) -> Sequence[Tensor]:
    """Features, and the gradient of their sines."""
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        pooled, grid = (part.float() for part in encoder.look(images, look))
    return pooled, grid, torch.autograd.grad(pooled.sin().sum() + grid.sin().sum(), images)[0]


@pytest.mark.parametrize("bf16", [False, True])
def test_all_batches_are_those_of_the_encoder(bf16: bool) -> None:
    """From few compiled sizes, and whatever flags the weights have meanwhile."""
    encoder, images = Small().eval(), torch.rand(9, 3, 16, 16)
    twin = Compiled(encoder)
    for count in (8, 7, 5, 4, 3, 2, 1, 8, 6):
        with frozen(encoder):
            wanted = gradient(encoder, images[:count], bf16)
        found = gradient(twin, images[:count], bf16)
        for one, other in zip(wanted, found):
            assert torch.allclose(one, other, atol=2e-2 if bf16 else 1e-6)
    assert twin.compiled == 4
    gradient(twin, images, bf16)
    assert twin.compiled == 5, "a larger batch is a new size"
    assert all(weight.requires_grad for weight in encoder.parameters())


def test_weights_are_shared() -> None:
    encoder = Small().eval()
    twin = Compiled(encoder)
    before = gradient(twin, torch.ones(2, 3, 16, 16))
    with torch.no_grad():
        encoder.mix.weight.mul_(2)
    with frozen(encoder):
        wanted = gradient(encoder, torch.ones(2, 3, 16, 16))
    found = gradient(twin, torch.ones(2, 3, 16, 16))
    assert torch.allclose(found[0], wanted[0])
    assert not torch.allclose(found[0], before[0])


def test_only_gradients_are_compiled() -> None:
    encoder, images = Small().eval(), torch.rand(2, 3, 16, 16)
    twin = Compiled(encoder)
    with torch.no_grad():
        assert torch.equal(twin(images).pooled, encoder(images).pooled)
    twin(images)
    assert torch.equal(twin.attention_at(images, 2), encoder.attention_at(images, 2))
    assert twin.compiled == 0
    with pytest.raises(UsageError, match="small has no layers"):
        gradient(twin, images, look=Look((0,)))


def test_what_cannot_be_compiled_is_left_to_the_encoder(capsys: pytest.CaptureFixture[str]) -> None:
    encoder, images = Branching().eval().requires_grad_(False), torch.rand(2, 3, 16, 16)
    twin, wanted = Compiled(encoder), gradient(encoder, images)
    for _ in range(2):
        assert all(torch.equal(one, other) for one, other in zip(gradient(twin, images), wanted))
    assert twin.compiled == 0
    assert capsys.readouterr().err.count("small is attacked without being compiled") == 1


def test_what_cannot_be_copied_is_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    encoder = Small().eval()
    encoder.kept = encoder.mix(torch.ones(1, 6))  # no leaf of a graph
    assert compiling.compiled(encoder) is encoder
    assert "small is attacked without being compiled" in capsys.readouterr().err


@pytest.mark.parametrize("share", [1.01, float("nan")])
def test_what_is_off_is_not_trusted(
    share: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(graph: Any, _inputs: object) -> Callable[..., Any]:
        return lambda *inputs: tuple(share * part for part in graph(*inputs))

    monkeypatch.setattr(compiling, "BACKEND", wrong)
    encoder, images = Small().eval(), torch.rand(2, 3, 16, 16)
    twin = Compiled(encoder)
    assert torch.equal(gradient(twin, images)[0], encoder(images).pooled)
    assert twin.compiled == 0
    assert "small is attacked without being compiled: compiled, it is off by" in capsys.readouterr().err


def test_a_gradient_that_is_off_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that are right say nothing of the way back."""

    class Half(torch.autograd.Function):
        @staticmethod
        def forward(_context: Any, value: Tensor) -> Tensor:
            return value.clone()

        @staticmethod
        def backward(_context: Any, *gradients: Tensor) -> Tensor:
            return 0.5 * gradients[0]

    def wrong(graph: Any, _inputs: object) -> Callable[..., Any]:
        return lambda *inputs: tuple(Half.apply(part) for part in graph(*inputs))

    monkeypatch.setattr(compiling, "BACKEND", wrong)
    twin = Compiled(Small().eval().requires_grad_(False))
    gradient(twin, torch.rand(2, 3, 16, 16))
    assert twin.compiled == 0


def test_few_graphs_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "GRAPHS", 2)
    encoder = Small().eval()
    twin = Compiled(encoder)
    for edge in (16, 20, 24):
        images = torch.rand(1, 3, edge, edge)
        with frozen(encoder):
            wanted = gradient(encoder, images)
        assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(gradient(twin, images), wanted))
    assert twin.compiled == 2


def test_gradients_through_windows() -> None:
    encoder, images = Small().eval().requires_grad_(False), torch.rand(2, 3, 16, 40)
    gradients: list[Tensor] = []
    twin = Compiled(encoder)
    for each in (encoder, twin):
        x = images.clone().requires_grad_()
        seen = windows.mean_map(
            lambda part, each=each: nn.functional.interpolate(each(part).grid, part.shape[-2:]),
            x,
            16,
            10,
            opaque=each.opaque,
        )
        gradients += torch.autograd.grad(seen.sin().sum(), x)
    assert torch.allclose(*gradients, atol=1e-6)
    assert twin.compiled == 1


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a compiler")
def test_compiled_for_real(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "inductor")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    encoder, images = Small().eval().requires_grad_(False), torch.rand(3, 3, 16, 16)
    twin = Compiled(encoder)
    for one, other in zip(gradient(encoder, images), gradient(twin, images)):
        assert torch.allclose(one, other, atol=1e-5)
    assert twin.compiled == 1


@pytest.mark.parametrize(
    ("attack", "task"),
    [("pgd(steps=3)", "classification"), ("embed(steps=3)", "depth"), ("apgd(steps=4)", "segmentation")],
)
def test_a_cell_is_the_same(
    fresh: Path, cell_of: Cells, monkeypatch: pytest.MonkeyPatch, attack: str, task: str
) -> None:
    """Identity, passes and numbers, but for rounding."""
    cell = cell_of(attack, task)
    plain, _, _ = measure(cell, Machine(batch_size=8), "none")
    monkeypatch.setenv("BRITTLE_CACHE", str(fresh / "other"))
    made, _, _ = measure(cell, Machine(batch_size=8, compiles="on"), "none")
    assert made.id == plain.id
    assert dict(made.metrics) == pytest.approx(dict(plain.metrics), abs=1e-4)
    assert (made.cost["forwards"], made.cost["backwards"]) == (plain.cost["forwards"], plain.cost["backwards"])
    assert made.made_by["compiled"] >= 1
    assert "compiled" not in plain.made_by


def test_auto_goes_by_what_a_cell_takes(cell_of: Cells) -> None:
    def asked(attack: str | None, **machine: str) -> bool:
        cell = cell_of(attack)
        resolved = resolve(cell)
        encoder = encoder_of(cell.encoder, "cpu", resolved.weights)
        rule = protocol_on(cell.protocol, cell.dataset, task_of(cell.task), encoder)
        big = Small()
        big.mix = nn.Linear(10**6, 10**2, device="meta")
        return worth(resolved, big, rule, Machine(**machine), 10**4)  # type: ignore[arg-type]

    assert asked("pgd(steps=100000)", device="cuda", compiles="auto")
    assert not asked("pgd(steps=1)", device="cuda", compiles="auto")
    assert not asked("pgd(steps=100000)", device="cpu", compiles="auto")
    assert not asked("pgd(steps=100000)", device="cuda", compiles="off")
    assert asked("pgd(steps=1)", device="cpu", compiles="on")
    assert not asked(None, device="cuda", compiles="on")
