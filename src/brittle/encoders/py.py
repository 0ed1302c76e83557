"""Your own ``nn.Module``, from a function in a module or a file that you name: ``py:mymodels.robust`` or ``py:models/mine.py:robust``.

Naming it runs that file: ``py:`` is the only word that does, and it never appears by itself.
"""

import hashlib
import importlib
import importlib.util
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from brittle import files
from brittle.backbones import PaddedEncoder, described, sha256_of_weights
from brittle.errors import MissingError, UsageError
from brittle.types import Count, Encoder, Features

UNIT = ((0.0,) * 3, (1.0,) * 3)


class OwnEncoder(PaddedEncoder):
    """A module of the user's: it takes [0,1] images, or, where it has ``mean`` and ``std`` as tuples of 3 numbers, normalised ones.

    What it may return: Features or (pooled [B,D], grid [B,D,rows,columns]); pooled alone (``grid`` repeats it); grid alone (``pooled`` is
    its mean).
    """

    def __init__(self, module: nn.Module, dim: int, patch: int, **facts: Any) -> None:
        super().__init__(dim, patch, **facts)
        self.module = module

    def features(self, padded: Tensor) -> Features:
        pooled, grid = understood(self.module(padded), self.about.get("source", "py:"))
        if grid is None:
            rows, columns = padded.shape[-2] // self.patch, padded.shape[-1] // self.patch
            grid = pooled[:, :, None, None].expand(-1, -1, rows, columns)
        return Features(pooled, grid)


def py(argument: str, /, *, size: Count = 0, patch: Count = 0) -> Encoder:
    """The module that a function of yours returns.

    Args:
        argument: MODULE.FUNCTION (from the working folder or installed) or FILE.py:FUNCTION; the function takes no arguments.
        size: edge of the pictures it is used at; 0 for the module's ``size``, else 224.
        patch: edge in pixels of a cell of its grid; 0 for the module's ``patch``, else measured.

    Raises:
        MissingError: no such module, file or function.
        UsageError: it returns something else than a module of known outputs.
    """
    made, source = _made(argument)
    sha = sha256_of_weights(made)
    stands = files.mixed(_joined(source, sha), size=size, patch=patch)
    licence = str(getattr(made, "licence", "unknown"))
    about = described(made, sha256=sha, licence=licence, source=f"py:{argument}", fingerprint=stands)
    if isinstance(made, Encoder):
        made.about = about
        return made.eval()
    size = size or int(getattr(made, "size", 0) or 224)
    colours = [getattr(made, name, None) for name in ("mean", "std")]
    mean, std = colours if all(isinstance(colour, (tuple, list)) and len(colour) == 3 for colour in colours) else UNIT
    dim, cells = _measured(made.eval(), size, argument)
    patch = patch or int(getattr(made, "patch", 0) or 0) or -(-size // cells)
    return OwnEncoder(made, dim, patch, size=size, mean=mean, std=std, about=about).eval()


def fingerprint(argument: str, /, *, size: int = 0, patch: int = 0) -> str:
    """A hash over the source file and the module's weights, which are made once for each version of the file."""
    return files.mixed(_own(argument, files.sha256_of_file(_source(argument)[0])), size=size, patch=patch)


@lru_cache(maxsize=16)
def _own(argument: str, _source_sha: str) -> str:
    made, source = _made(argument)
    return _joined(source, sha256_of_weights(made))


def _joined(source: Path, weights: str) -> str:
    return files.sha256(f"{files.sha256_of_file(source)} {weights}".encode())


def _made(argument: str) -> tuple[nn.Module, Path]:
    """What the function returns, with torch's seed at 0, and the file it is in."""
    path, name = _source(argument)
    function = getattr(_imported(argument, path), name, None)
    if not callable(function):
        raise MissingError(f"py:{argument}: {path} has no function {name!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made: Any = function()
    if not isinstance(made, nn.Module):
        raise UsageError(f"py:{argument} returned {type(made).__name__}; it must return a torch.nn.Module")
    return made, path


def _source(argument: str) -> tuple[Path, str]:
    """The file and the function that are meant."""
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
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.origin or not Path(found.origin).is_file():
        raise MissingError(f"py:{argument}: no module {module!r} in the working folder or installed; or write py:FILE.py:{name}")
    return Path(found.origin), name


def _imported(argument: str, path: Path) -> ModuleType:
    if not argument.rpartition(":")[0].endswith(".py"):
        module = argument.rpartition(".")[0]
        found = sys.modules.get(module)
        return importlib.import_module(module) if found is None else found
    name = f"brittle_own_{hashlib.sha256(path.read_bytes() + str(path).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise UsageError(f"py:{argument}: {path} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _measured(module: nn.Module, size: int, argument: str) -> tuple[int, int]:
    """Width of the features and rows of the grid (1 where there is none) for a picture of ``size``."""
    with torch.no_grad():
        pooled, grid = understood(module(torch.zeros(1, 3, size, size)), f"py:{argument}")
    return pooled.shape[1], grid.shape[2] if grid is not None else 1


def understood(made: Any, source: str) -> tuple[Tensor, Tensor | None]:
    """Pooled and grid (or None) of what a module returned.

    Raises:
        UsageError: something else, with its type or its shape.
    """
    parts: Any = made if isinstance(made, (tuple, list)) else (made,)
    shapes = [tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in parts]
    ranks = [part.dim() if isinstance(part, Tensor) else 0 for part in parts]
    if ranks == [2, 4] and parts[0].shape[1] == parts[1].shape[1]:
        return parts[0], parts[1]
    if ranks == [2]:
        return parts[0], None
    if ranks == [4]:
        return parts[0].mean((2, 3)), parts[0]
    raise UsageError(f"{source} returned {shapes}; it must be pooled [B,D] and grid [B,D,rows,columns], or one of them, of one width D")
