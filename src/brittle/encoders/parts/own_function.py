"""A function of the user's, from a module or a file that is named: what it returns, in one line where it fails."""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from brittle.core.errors import BrittleError, MissingError, UsageError


def built(argument: str) -> tuple[nn.Module, Path]:
    """The module that the function returns, and the file it is in."""
    function, path = named(argument)
    module = called(argument, function)
    if not isinstance(module, nn.Module):
        raise UsageError(f"py:{argument} returned {type(module).__name__}; it must return a torch.nn.Module")
    return module, path


def named(argument: str) -> tuple[Callable[..., Any], Path]:
    """The function that is named, and the file it is in."""
    path, name = source(argument)
    with in_one_line(argument):
        function = getattr(_imported(argument, path), name, None)
    if not callable(function):
        raise MissingError(f"py:{argument}: {path} has no function {name!r}")
    return function, path


def called(argument: str, function: Callable[[], Any]) -> Any:
    """What the function returns, with torch's seed at 0."""
    with in_one_line(argument), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return function()


@contextmanager
def in_one_line(argument: str) -> Generator[None]:
    """Whatever the user's file raises as one UsageError that says where."""
    try:
        yield
    except BrittleError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UsageError(f"py:{argument}: {why} ({frame.filename}, line {frame.lineno}); fix it") from error


def source(argument: str) -> tuple[Path, str]:
    """The file and the function that the argument names."""
    if not argument:
        raise UsageError("py needs a function; write py:MODULE.FUNCTION or py:FILE.py:FUNCTION")
    text, _, name = argument.rpartition(":")
    if text.endswith(".py"):
        path = Path(text).expanduser()
        if not path.is_file():
            raise MissingError(f"py:{argument}: no file {path}")
        return path.resolve(), name
    module, _, name = argument.rpartition(".")
    if not module or ":" in argument:
        raise UsageError(f"py:{argument} names no function; write py:MODULE.FUNCTION or py:FILE.py:FUNCTION")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        raise MissingError(
            f"py:{argument}: no module {module!r} in the working folder or installed; or write py:FILE.py:{name}"
        )
    return Path(spec.origin), name


def _imported(argument: str, path: Path) -> ModuleType:
    if not argument.rpartition(":")[0].endswith(".py"):
        module = argument.rpartition(".")[0]
        loaded = sys.modules.get(module)
        return importlib.import_module(module) if loaded is None else loaded
    name = f"brittle_own_{hashlib.sha256(path.read_bytes() + str(path).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise UsageError(f"py:{argument}: {path} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
