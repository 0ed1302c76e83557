"""Your own ``nn.Module``, from a function in a module or a file that you name: ``py:mymodels.robust`` or
``py:models/mine.py:robust``.

Naming it runs that file: ``py:`` is the only encoder that does, and it is never used by default.
"""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from brittle.core import files
from brittle.core.errors import BrittleError, MissingError, UsageError
from brittle.core.traits import EncoderTraits
from brittle.encoders.parts import own_code
from brittle.encoders.parts.own_module import as_encoder
from brittle.encoders.parts.wrappers import Size, sha256_of_weights
from brittle.types import Encoder


def py(argument: str, /, *, size: Size = 0, patch: Size = 0) -> Encoder:
    """The module that a function of yours returns.

    Args:
        argument: MODULE.FUNCTION (from the working folder or installed) or FILE.py:FUNCTION; the function takes no
            arguments.
        size: edge of the images it is used at; 0 for the module's ``size``, else 224.
        patch: edge in pixels of a cell of its grid; 0 for the module's ``patch``, else measured.

    Raises:
        MissingError: no such module, file or function.
        UsageError: its file or the function stops, or it returns something other than a module with known outputs.
    """
    module, _ = _built(argument)
    sha = sha256_of_weights(module)
    identity = files.mixed(_joined(argument, module, sha), size=size, patch=patch)
    return as_encoder(module, f"py:{argument}", sha256=sha, fingerprint=identity, size=size, patch=patch)


def fingerprint(argument: str, /, *, size: int = 0, patch: int = 0) -> str:
    """A hash over the source file and the module's weights, which are made once for each version of the file."""
    return files.mixed(_own(argument, files.sha256_of_file(_source(argument)[0])), size=size, patch=patch)


@lru_cache(maxsize=16)
def _own(argument: str, _source_sha: str) -> str:
    module, _ = _built(argument)
    return _joined(argument, module, sha256_of_weights(module))


def _joined(argument: str, module: nn.Module, weights: str) -> str:
    source, name = _source(argument)
    return own_code.fingerprint(module, name, source, weights)


def _built(argument: str) -> tuple[nn.Module, Path]:
    """What the function returns, with torch's seed at 0, and the file it is in."""
    path, name = _source(argument)
    with _in_one_line(argument):
        function = getattr(_imported(argument, path), name, None)
    if not callable(function):
        raise MissingError(f"py:{argument}: {path} has no function {name!r}")
    with _in_one_line(argument), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: Any = function()
    if not isinstance(module, nn.Module):
        raise UsageError(f"py:{argument} returned {type(module).__name__}; it must return a torch.nn.Module")
    return module, path


@contextmanager
def _in_one_line(argument: str) -> Generator[None]:
    """Whatever the user's file raises as one UsageError that says where."""
    try:
        yield
    except BrittleError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UsageError(f"py:{argument}: {why} ({frame.filename}, line {frame.lineno}); fix it") from error


def _source(argument: str) -> tuple[Path, str]:
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


def foreign(**_settings: Any) -> str:
    """Naming a file runs it."""
    return "runs a file"


TRAITS = EncoderTraits(fingerprint=fingerprint, foreign=foreign)
