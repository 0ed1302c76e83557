"""The encoder inside a whole network: what one of its modules gives, as features."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from brittle.core.errors import BrittleError, UsageError
from brittle.types import Encoder, Features

NETWORK = "network"  # what a body calls the network behind its preprocessing
NATIVE = 224  # edge where none is known
PREFIXES = (0, 1, 5, 2)  # tokens that may come before the patches: none, CLS, with four registers, with distillation


class _Seen(BaseException):
    """What the module gave; the rest of the network need not run. No Exception, so that no network catches it."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output


class Inner(Encoder):
    """``grid`` is the map that a module gives, or its tokens after those that come before the patches; ``pooled`` the
    first of those, or the grid's mean.

    Args:
        body: images in [0,1] to a prediction; it normalises, and may resize, by itself.
        path: the module's name inside the body.
        size: edge of the images that it is used at.
    """

    def __init__(self, body: nn.Module, path: str, size: int, about: Mapping[str, Any]) -> None:
        super().__init__(1, 1, size=size, mean=(0.0,) * 3, std=(1.0,) * 3, about=about)
        self.body = body
        names = dict(body.named_modules())
        if path not in names or not path:
            near = ", ".join(name.partition(".")[2] for name in names if name.count(".") in (1, 2))
            raise UsageError(f"{self.label} has no module {path.partition('.')[2]!r}; it has {near[:300]}")
        self.path = path
        with torch.no_grad():
            grid = self(torch.full((1, 3, size, size), 0.5)).grid
        self.dim, self.patch = grid.shape[1], -(-size // grid.shape[2])

    @property
    def _name(self) -> str:
        return self.path.partition(".")[2]

    def forward(self, images: Tensor) -> Features:
        given: list[Sequence[int]] = []  # the sizes of what the network gets, which may have been resized

        def enter(_module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
            given.extend(each.shape[-2:] for each in (*inputs, *named.values()) if isinstance(each, Tensor))

        network, module = self.body.get_submodule(NETWORK), self.body.get_submodule(self.path)
        handles = [network.register_forward_pre_hook(enter, with_kwargs=True), module.register_forward_hook(_leave)]
        try:
            self.body(images)
        except _Seen as seen:
            return self._features(seen.output, given[0])
        finally:
            for handle in handles:
                handle.remove()
        raise UsageError(f"{self.label}: its module {self._name!r} is not run; name another with features=MODULE")

    def _features(self, output: object, size: Sequence[int]) -> Features:
        tensor = _last(output)
        if tensor is None:
            what = type(output).__name__
            raise UsageError(
                f"{self.label}: module {self._name!r} gives a {what} without features; name another module"
            )
        if tensor.dim() == 4:
            return Features(tensor.mean((2, 3)), tensor)
        for prefix in PREFIXES:
            rows, columns = _grid(tensor.shape[1] - prefix, size)
            if rows:
                grid = tensor[:, prefix:].transpose(1, 2).unflatten(2, (rows, columns))
                return Features(tensor[:, 0] if prefix else grid.mean((2, 3)), grid)
        shape = list(tensor.shape)
        raise UsageError(f"{self.label}: module {self._name!r} gives {shape}, which is no grid; name another module")


def _leave(_module: nn.Module, _inputs: object, output: object) -> None:
    raise _Seen(output)


def _last(output: object) -> Tensor | None:
    """The features in what a module gives: a tensor of maps or tokens, the last one of several."""
    if isinstance(output, Tensor):
        return output if output.dim() in (3, 4) and output.is_floating_point() else None
    for name in ("feature_maps", "last_hidden_state"):
        if getattr(output, name, None) is not None:
            return _last(getattr(output, name))
    parts: Sequence[Any] = list(output.values()) if isinstance(output, Mapping) else ()
    parts = output if isinstance(output, (tuple, list)) else parts
    found = [tensor for tensor in map(_last, parts) if tensor is not None]
    return found[-1] if found else None


def _grid(count: int, size: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of so many tokens, of the shape nearest to that of the image; (0, 0) where there is none within
    a third of it."""
    wanted = size[0] / size[1]
    pairs = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0] if count > 3 else []
    best = min(pairs, key=lambda pair: abs(pair[0] / pair[1] / wanted - 1), default=(0, 0))
    return best if best[0] and abs(best[0] / best[1] / wanted - 1) < 1 / 3 else (0, 0)


def inner(body: nn.Module, path: str, size: int, about: Mapping[str, Any], *, sure: bool) -> Encoder | None:
    """The encoder inside a body that holds a ``network``, at the module ``path`` of that; None where no path is named,
    or where the module, guessed and not ``sure``, has nothing to give."""
    if not path:
        return None
    try:
        return Inner(body, f"{NETWORK}.{path}", size or NATIVE, about).eval()
    except BrittleError:
        if sure:
            raise
        return None
