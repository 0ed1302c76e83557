"""Modules are found wherever a model keeps them, held still while anybody needs that, and given back as they were."""

import copy
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import brittle
from brittle.core.errors import CellError
from brittle.types import freezing
from brittle.types.freezing import frozen, modules_behind

IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(4)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(8, 4)).train()


@dataclass
class Kept:
    nets: list[nn.Module]

    def predict(self, images: Tensor) -> Tensor:
        return self.nets[0](images)


class Holder:
    def __init__(self, net: nn.Module) -> None:
        self.inner = {"net": Kept([net])}

    def __call__(self, images: Tensor) -> Tensor:
        return self.inner["net"].predict(images)


class Slots:
    __slots__ = ("net",)

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def __call__(self, images: Tensor) -> Tensor:
        return self.net(images)


class Hidden(nn.Module):
    """A module whose own is no registered child."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.hidden = [net]

    def forward(self, images: Tensor) -> Tensor:
        return self.hidden[0](images)


GLOBAL = network()


def _of_a_global(images: Tensor) -> Tensor:
    return [GLOBAL.forward(part) for part in (images,)][0]


WAYS: dict[str, Callable[[nn.Module], Callable[[Tensor], Tensor]]] = {
    "itself": lambda net: net,
    "bound method": lambda net: net.forward,
    "closure": lambda net: lambda images: net.forward(images) + 0,
    "wrapped": lambda net: functools.wraps(net.forward)(lambda images: net(images) + 0),
    "default": lambda net: lambda images, net=net: net(images),
    "partial": lambda net: functools.partial(lambda first, images: first[0](images), (net,)),
    "no_grad around it": lambda net: torch.enable_grad()(lambda images: net(images) + 0),
    "object": Holder,
    "method of a dataclass": lambda net: Kept([net]).predict,
    "slots": Slots,
    "unregistered child": Hidden,
    "DataParallel": nn.DataParallel,
    "scripted": torch.jit.script,
    "compiled": lambda net: torch.compile(net, backend="eager"),  # type: ignore[return-value]
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
def test_a_module_is_found_behind(way: str) -> None:
    net = network()
    before, wanted = copy.deepcopy(net.state_dict()), brittle.attack(network(), IMAGES, LABELS, attack="pgd(steps=2)")
    found = brittle.attack(WAYS[way](net), IMAGES, LABELS, attack="pgd(steps=2)")
    assert torch.equal(found, wanted)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(part.training for part in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_a_module_is_found_in_the_globals_that_code_names() -> None:
    assert GLOBAL in set(modules_behind(_of_a_global))
    assert GLOBAL not in set(modules_behind(lambda images: images))


def test_too_much_to_look_through_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(freezing, "MOST", 10)
    held = [[i] for i in range(20)]
    list(modules_behind(lambda images: held))
    assert "evaluation mode" in capsys.readouterr().err


def test_who_comes_first_need_not_leave_last() -> None:
    net = network()
    first, second = frozen(net), frozen(lambda images: net(images) + 0)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(part.training for part in net.modules())
    assert not any(parameter.requires_grad for parameter in net.parameters())
    second.__exit__(None, None, None)
    assert all(part.training for part in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_threads_that_share_a_model() -> None:
    net = network()
    before, found = copy.deepcopy(net.state_dict()), dict[int, Tensor]()

    def work(seed: int) -> None:
        found[seed] = brittle.attack(net, IMAGES, LABELS, attack="pgd(steps=5)", seed=seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, images in found.items():
        assert torch.equal(images, brittle.attack(net, IMAGES, LABELS, attack="pgd(steps=5)", seed=seed))
    assert all(part.training for part in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_weights_made_in_inference_mode_are_one_line() -> None:
    with torch.inference_mode():
        net = network()
    with pytest.raises(
        CellError, match="the model stops at torch.float32 images .4, 3, 8, 8.: RuntimeError: Inference"
    ):
        brittle.attack(net, IMAGES, LABELS)
