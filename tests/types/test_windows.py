"""Sliding windows: the same map and the same gradient as one graph over all windows, with one window in memory."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from brittle.types import windows


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 10, 3, padding=1), nn.GELU(), nn.Conv2d(10, 4, 3, padding=1)).double()


def one_graph(function: nn.Module, images: Tensor, window: int, stride: int) -> Tensor:
    """Every window in one graph, padded into place and averaged: the definition."""
    height, width = images.shape[-2:]
    total, count = torch.zeros(1), torch.zeros(height, width)
    for rows, columns in windows.places(height, width, window, stride):
        part = function(images[..., rows, columns])
        total = total + nn.functional.pad(part, (columns.start, width - columns.stop, rows.start, height - rows.stop))
        count[rows, columns] += 1
    return total / count


def test_places_cover_every_pixel_and_stay_inside() -> None:
    for height, width, window, stride in [
        (37, 50, 16, 10),
        (16, 16, 16, 10),
        (16, 40, 16, 16),
        (9, 100, 16, 5),
        (17, 17, 16, 16),
    ]:
        seen = torch.zeros(height, width)
        for rows, columns in windows.places(height, width, window, stride):
            assert 0 <= rows.start < rows.stop <= height
            assert 0 <= columns.start < columns.stop <= width
            assert rows.stop - rows.start == min(window, height)
            assert columns.stop - columns.start == min(window, width)
            seen[rows, columns] += 1
        assert (seen > 0).all()


def test_map_and_gradient_are_those_of_one_graph() -> None:
    function, images = net(), torch.rand(2, 3, 37, 50, dtype=torch.float64)
    weight = torch.randn(2, 4, 37, 50, dtype=torch.float64)
    results = []
    for made in (windows.mean_map, one_graph):
        x = images.clone().requires_grad_()
        y = made(function, x, 16, 10)
        (gradient,) = torch.autograd.grad((y.softmax(1) * weight).sum(), x)
        results.append((y.detach(), gradient))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-12)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-12)
    assert results[0][1].abs().amax((1,)).gt(0).all()


def test_a_window_is_forgotten_until_its_gradient_is_asked_for() -> None:
    """What autograd keeps does not grow with the number of windows."""
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    function = net().float()
    for width in (32, 128):
        images = torch.rand(1, 3, 16, width, requires_grad=True)
        kept.append(-1)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            windows.mean_map(function, images, 16, 16)
    first, second = " ".join(map(str, kept)).split("-1")[1:]
    hidden = 10 * 16 * 16  # values in the network's middle, for one window
    assert str(hidden) not in first.split()
    assert str(hidden) not in second.split()


class Attending(nn.Module):
    """Pixels of a window attend to each other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.into, self.out = nn.Conv2d(3, 24, 1), nn.Conv2d(8, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        tokens = self.into(images).flatten(2).view(count, 3, 2, 4, -1).permute(1, 0, 2, 4, 3).contiguous()
        seen = nn.functional.scaled_dot_product_attention(*tokens.unbind())
        return self.out(seen.transpose(2, 3).reshape(count, 8, height, width))


class Counting(TorchDispatchMode):
    """How often attention is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.names = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names[str(func)] += 1
        return func(*args, **(kwargs or {}))

    def attention(self) -> int:
        return sum(count for name, count in self.names.items() if "scaled_dot_product" in name and "back" not in name)


@pytest.mark.parametrize("room", [0, 1, 3, 6, 100])
def test_attention_is_kept_where_there_is_room(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of six windows; the first one's is kept to know how large that is."""
    monkeypatch.setattr(windows, "ROOM", room * 2 * 2 * 16 * 16 * 4 * 4)  # images, heads, pixels, width, bytes
    function, images = Attending(), torch.rand(2, 3, 16, 96)
    gradients = []
    for made, again in ((windows.mean_map, 6 - min(max(room, 1), 6)), (one_graph, 0)):
        x = images.clone().requires_grad_()
        with Counting() as counting:
            y = made(function, x, 16, 16)
            assert counting.attention() == 6
            (gradient,) = torch.autograd.grad(y.softmax(1)[:, 0].square().sum(), x)
        gradients.append(gradient)
        assert counting.attention() == 6 + again
    assert (gradients[0] - gradients[1]).norm() <= 1e-5 * gradients[1].norm()
