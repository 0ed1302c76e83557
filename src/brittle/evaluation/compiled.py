"""An encoder compiled for the gradients of attacks: on a frozen twin, for few shapes, and trusted only where it gives
what the encoder itself gives."""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from brittle.core.errors import BrittleError
from brittle.core.progress import say
from brittle.evaluation.disk import cells_of
from brittle.evaluation.machine import Machine
from brittle.evaluation.protocol import Protocol
from brittle.planning.identity import Resolved
from brittle.types import FINAL, Encoder, Features, Look
from brittle.types.model import out_of_memory

SHAPES = 4  # batch sizes of one look at images of one size: the whole batch, its half, quarter and eighth
GRAPHS = 12  # that are compiled at most: an attack that looks at many layers would compile for longer than it runs
BACKEND = "inductor"
CLOSE = 1e-3  # relative error, L2, that is rounding in float32
COARSER = 2.0  # times that compiled bfloat16 may be as far from float32 as bfloat16 is
WORTH = 3e16  # operations that take a large GPU some minutes; compiling takes half a minute, and saves a quarter
Seen = tuple[Tensor, ...]
Function = Callable[[Tensor], Seen]


class Compiled(Encoder):
    """An encoder whose features are compiled where a gradient at the pixels is wanted.

    Batches are padded to one of ``SHAPES`` sizes, as each is compiled for itself. What cannot be compiled, what is not
    as close to float32 as the encoder itself, attention, and what takes no gradient, are left to the encoder; the first
    two are said.
    """

    opaque = True

    def __init__(self, encoder: Encoder) -> None:
        mean, std = (each.flatten().tolist() for each in (encoder.mean, encoder.std))
        super().__init__(encoder.dim, encoder.patch, size=encoder.size, mean=mean, std=std, about=encoder.about)
        self.encoder, self.projector = encoder, encoder.projector
        self.to(encoder.mean.device)
        # The twin's weights are the encoder's own memory, but their flags are nobody else's: compiled code holds for
        # the flags that it was compiled with. In a list, it is no part of this module, whose flags may be set.
        weights = {id(each): nn.Parameter(each.detach(), requires_grad=False) for each in encoder.parameters()}
        self._twin = [copy.deepcopy(encoder, {**weights, **{id(each): each for each in encoder.buffers()}}).eval()]
        self._sizes: list[int] = []  # of batches, those of the largest so far
        self._graphs: dict[tuple[object, ...], Function | None] = {}

    def forward(self, images: Tensor, look: Look = FINAL) -> Features:
        """What the encoder sees in images [B,3,H,W] in [0,1], in float32 where it runs compiled; UsageError as
        ``Encoder.look``."""
        found = self._found(images, look) if torch.is_grad_enabled() and images.requires_grad else None
        return self.encoder.look(images, look) if found is None else Features(*found)

    def look(self, images: Tensor, look: Look) -> Features:
        return self(images, look)  # a call, so that it is counted as one

    @property
    def compiled(self) -> int:
        """How many shapes of batches are run compiled."""
        return sum(function is not None for function in self._graphs.values())

    @property
    def depth(self) -> int:
        return self.encoder.depth

    def at_layers(self, images: Tensor, indices: Sequence[int], *, norm: bool = False) -> list[Features]:
        return self.encoder.at_layers(images, indices, norm=norm)

    def attention_at(self, images: Tensor, index: int) -> Tensor:
        return self.encoder.attention_at(images, index)

    def _found(self, images: Tensor, look: Look) -> Sequence[Tensor] | None:
        """Features of images [b,3,H,W]; None where the encoder is to be asked."""
        count, kind = len(images), images.device.type
        bf16 = torch.is_autocast_enabled(kind)
        if count > max(self._sizes, default=0):
            self._sizes = sorted({-(-count // 2**halved) for halved in range(SHAPES)})
        size = next(size for size in self._sizes if size >= count)
        if size > count:
            images = torch.cat([images, images[-1:].detach().expand(size - count, -1, -1, -1)])
        key = (look, bf16, images.dtype, images.shape)
        with torch.autocast(kind, enabled=False):  # it is inside, see _look
            if key not in self._graphs and len(self._graphs) < GRAPHS:
                self._graphs[key] = self._compiled(images, look, bf16)
            function = self._graphs.get(key)
            return None if function is None else [part[:count] for part in function(images)]

    def _compiled(self, images: Tensor, look: Look, bf16: bool) -> Function | None:
        """A compiled function for images of this shape; None, which is said, where it is not to be trusted."""
        say(f"compiling {self.label} for images {list(images.shape)}")
        eager = self._look(look, bf16)
        compiled = torch.compile(eager, fullgraph=True, dynamic=False, backend=BACKEND)
        try:
            with ThreadPoolExecutor(1) as alone:  # where no hook of a graph that is being made is in force
                ways = (self._look(look, False), eager, compiled)
                exact, plain, found = alone.map(partial(_tried, images=images), ways)
        except Exception as error:  # of a compiler, which has many kinds, or of code that it cannot read
            if isinstance(error, BrittleError) or out_of_memory(error):
                raise
            return _left(self, _of(error))
        for now, before, right in zip(found, plain, exact):
            off, allowed = _error(now, right), CLOSE + COARSER * _error(before, right)
            if not off <= allowed:
                return _left(self, f"compiled, it is off by {off:.1e} where {allowed:.1e} is rounding")
        return compiled

    def _look(self, look: Look, bf16: bool) -> Function:
        """What is compiled. Autocast is inside: what is compiled for the way back takes its precision from there."""
        (twin,) = self._twin

        def seen(images: Tensor) -> Seen:
            with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
                parts = twin.look(images, look)
            return tuple(part.float() for part in parts)

        seen.__code__ = seen.__code__.replace()  # one of its own: torch keeps what it compiles, and how much, by code
        return seen


@lru_cache(maxsize=1)
def compiled(encoder: Encoder) -> Encoder:
    """An encoder compiled, or as it is where it cannot be copied, which is said; the last one is kept, as cells come
    grouped by encoder."""
    try:
        return Compiled(encoder)
    except Exception as error:  # of whatever somebody's own encoder holds
        if out_of_memory(error):
            raise
        _left(encoder, _of(error))
        return encoder


def _left(encoder: Encoder, why: str) -> None:
    say(f"{encoder.label} is attacked without being compiled: {why}", always=True)


def _of(error: Exception) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


def worth(resolved: Resolved, encoder: Encoder, rule: Protocol, machine: Machine, images: int) -> bool:
    """Whether the attack of a cell on so many images is to run compiled. ``auto`` goes by the operations that it takes,
    never by a clock: the same cell is attacked in the same way each time."""
    attack = resolved.attack
    if attack is None or machine.compiles != "auto":
        return attack is not None and machine.compiles == "on"
    if not machine.device.startswith("cuda"):  # there it gains a tenth, for a minute of compiling
        return False
    weights = sum(weight.numel() for weight in encoder.parameters())
    cells = cells_of(encoder, rule, resolved.data("test")[0].image.shape[-2:])
    return 4.0 * weights * cells * images * attack.passes.backwards > WORTH


def _tried(function: Function, images: Tensor) -> Seen:
    """What a function gives, and the gradient of random weights times that."""
    images = images.detach().clone().requires_grad_()
    parts = function(images)
    draw = torch.Generator().manual_seed(0)
    weighed = [(part * torch.randn(part.shape, generator=draw).to(part.device)).sum() for part in parts]
    (gradient,) = torch.autograd.grad(torch.stack(weighed).sum(), images)
    return *(part.detach() for part in parts), gradient


def _error(found: Tensor, right: Tensor) -> float:
    """How far off, L2, as a share."""
    return float((found - right).norm() / right.norm().clamp(min=torch.finfo(right.dtype).tiny))
