"""Sliding windows: the same map and the same gradient as one graph over all windows, with one window in memory."""

import torch
from torch import Tensor, nn

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
