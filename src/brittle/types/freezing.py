"""Modules held still while they are attacked, wherever a model keeps them."""

import functools
import gc
import sys
import types
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from torch import Tensor, nn

from brittle.core.progress import say

MOST = 100_000  # objects behind a callable that are looked through
FOREIGN = {"torch", "numpy", "brittle", *sys.stdlib_module_names} - {"__main__"}  # code that keeps no module of a user


class _Held:
    """Flags of modules and parameters as they were before the first of those who hold them came; given back by the
    last. Several may hold the same module: nested calls, threads, models that share an encoder."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._holders: dict[int, tuple[nn.Module | nn.Parameter, bool, int]] = {}

    def take(self, things: list[nn.Module | nn.Parameter]) -> None:
        with self._lock:
            for thing in things:
                _, flag, count = self._holders.get(id(thing), (thing, _flag(thing), 0))
                self._holders[id(thing)] = thing, flag, count + 1
            for thing in things:  # only now, as a wrapper's flag may be that of the module it wraps
                _set(thing, False)

    def give_back(self, things: list[nn.Module | nn.Parameter]) -> None:
        with self._lock:
            for thing in things:
                _, flag, count = self._holders.pop(id(thing))
                if count > 1:
                    self._holders[id(thing)] = thing, flag, count - 1
                else:
                    _set(thing, flag)


_HELD = _Held()


@contextmanager
def frozen(model: Callable[..., Any]) -> Generator[None]:
    """Evaluation mode and no parameter gradients inside, for every module behind a callable; every flag as it was
    outside."""
    modules = list(dict.fromkeys(part for module in modules_behind(model) for part in module.modules()))
    own = dict.fromkeys(parameter for part in modules for parameter in part.parameters(recurse=False))
    things: list[nn.Module | nn.Parameter] = [
        *modules,
        *(each for each in own if each.is_leaf and not each.is_inference()),
    ]
    _HELD.take(things)
    try:
        yield
    finally:
        _HELD.give_back(things)


def modules_behind(model: Callable[..., Any]) -> Iterator[nn.Module]:
    """The modules that a callable can reach: itself, and those in its closure, defaults, bound arguments, the globals
    that its code names, attributes, and any list, dict or object in there. Where it holds too much to look through,
    that is said."""
    seen: set[int] = set()
    queue: list[Any] = [model]
    while queue:
        thing = queue.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if len(seen) > MOST:
            say("the model holds too many objects to find all modules in; put those in evaluation mode", always=True)
            return
        if isinstance(thing, nn.Module):
            yield thing
        queue += _held_by(thing)


def _held_by(thing: Any) -> list[Any]:
    """What an object holds, as far as a module may be in it."""
    if isinstance(thing, (Tensor, types.ModuleType, types.CodeType, types.FrameType)) or not gc.is_tracked(thing):
        return []
    if isinstance(thing, (type, types.FunctionType)) and str(thing.__module__).partition(".")[0] in FOREIGN:
        inner = getattr(thing, "__closure__", None) or ()  # such as of torch.no_grad around a function
        return list(inner)
    if isinstance(thing, type):
        return list(vars(thing).values())
    if isinstance(thing, types.FunctionType):
        kept = [thing.__closure__, thing.__defaults__, thing.__kwdefaults__, vars(thing)]
        return [*kept, *_named(thing.__code__, thing.__globals__)]
    return gc.get_referents(thing)


def _named(code: types.CodeType, scope: dict[str, Any]) -> list[Any]:
    """The globals that code names, and what it names of the modules among them, in its inner functions too."""
    own = [scope[name] for name in code.co_names if name in scope]
    files = [vars(value) for value in own if isinstance(value, types.ModuleType) and _root(value) not in FOREIGN]
    deeper = [file[name] for file in files for name in code.co_names if name in file]
    inner = [_named(const, scope) for const in code.co_consts if isinstance(const, types.CodeType)]
    return functools.reduce(list.__add__, inner, own + deeper)


def _root(module: types.ModuleType) -> str:
    return module.__name__.partition(".")[0]


def _flag(thing: nn.Module | nn.Parameter) -> bool:
    return thing.training if isinstance(thing, nn.Module) else thing.requires_grad


def _set(thing: nn.Module | nn.Parameter, flag: bool) -> None:
    if not isinstance(thing, nn.Module):
        thing.requires_grad_(flag)
    elif thing.training != flag:
        thing.training = flag
