"""What decides a user's own module besides its weights: the files of its code, and values that it holds."""

import ast
import functools
import hashlib
import importlib.util
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brittle.core import files

INSTALLED = {"site-packages", "dist-packages"}
_STANDARD = Path(sysconfig.get_paths()["stdlib"])
OURS = Path(__file__).parents[2]
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_OF_TORCH = frozenset(vars(nn.Module())) - {*_HOOKS}
"""What every module has; its hooks take part in a forward pass."""
_DEEPEST = 6  # values within values


def fingerprint(module: nn.Module, name: str, source: Path, weights: str) -> str:
    """A hash over all that decides what the module computes and that can be seen: its weights, the name of the function
    that made it, that function's file and every file of one's own that it or a layer imports (installed packages by
    their version), and the values that its layers hold."""
    places = {sys.modules.get(type(layer).__module__) for layer in module.modules()}
    layers = {Path(path) for path in (getattr(place, "__file__", None) for place in places) if path}
    paths, packages = _files([source, *layers])
    parts = [name, weights, *(files.sha256_of_file(path) for path in sorted(paths))]
    return files.sha256(" ".join([*parts, *_versions(packages), _held(module)]).encode())


def _files(starts: Iterable[Path]) -> tuple[set[Path], set[str]]:
    """Every file of one's own that these import, however deep and wherever in them, and the installed packages."""
    own: set[Path] = set()
    packages: set[str] = set()
    waiting = [path.resolve() for path in starts]
    while waiting:
        path = waiting.pop()
        places = [i for i, part in enumerate(path.parts) if part in INSTALLED]
        if places:
            packages.add(path.parts[places[-1] + 1])
            continue
        if path in own or _STANDARD in path.parents or OURS in path.parents:
            continue  # they have versions of their own
        own.add(path)
        waiting += [found.resolve() for found in _imported(path)]
    return own, packages


def _imported(path: Path) -> Iterator[Path]:
    """The files of the modules that a file imports, also within its functions."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):  # no source, such as a compiled extension
        return
    package = next((m.__package__ or "" for m in list(sys.modules.values()) if _file_of(m) == path), "")
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] + "." if node.level and package else ""
            base = (above + (node.module or "")).strip(".")
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in filter(None, names):
            found = _found(name)
            if found:
                yield found


def _file_of(module: object) -> Path | None:
    path = vars(module).get("__file__") if isinstance(module, types.ModuleType) else None
    return Path(path) if isinstance(path, str) else None


@functools.lru_cache(maxsize=4096)
def _found(name: str) -> Path | None:
    """The file of a module that is loaded, or could be without loading anything but its packages."""
    loaded = _file_of(sys.modules.get(name))
    if loaded:
        return loaded
    parent = name.rpartition(".")[0]
    if parent and not hasattr(sys.modules.get(parent), "__path__"):
        return None
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None


def _versions(packages: Iterable[str]) -> list[str]:
    """``NAME VERSION`` of the packages other than torch's own, whose layers mean the same in every version."""
    known: list[str] = []
    for name in sorted(set(packages) - {"torch"}):
        try:
            known.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            known.append(name)
    return known


def _held(module: nn.Module) -> str:
    """A hash over what each layer holds besides parameters and saved buffers: numbers and words, functions with their
    defaults and what they close over, hooks, buffers that are not saved."""
    saved = module.state_dict().keys()
    unsaved = {name: value for name, value in module.named_buffers() if name not in saved}
    digest = hashlib.sha256("".join(_told(unsaved, 0)).encode())
    for name, layer in module.named_modules():
        own = {key: value for key, value in vars(layer).items() if key not in _OF_TORCH}
        own |= {key: list(own[key].values()) for key in _HOOKS}  # their keys are counted in each process
        digest.update(f"{name} {type(layer).__qualname__} {sorted(own)}".encode())
        for key in sorted(own):
            digest.update("".join(_told(own[key], 0)).encode())
    return digest.hexdigest()


def _told(value: Any, depth: int) -> Iterator[str]:
    """A value in text that is the same in every process; of an object of another kind, its class and what it holds."""
    if isinstance(value, (bool, int, float, complex, str, bytes, type(None), torch.dtype)):
        yield repr(value)
    elif isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous().flatten()
        yield f"{value.dtype}{tuple(value.shape)}{files.sha256(plain.view(torch.uint8).numpy().tobytes())}"
    elif isinstance(value, nn.Module) or depth > _DEEPEST:
        yield type(value).__qualname__  # a layer's own values are told where it stands
    elif isinstance(value, Mapping):
        yield from _each(dict(enumerate(value.values())) | {"keys": list(map(str, value))}, depth)
    elif isinstance(value, (set, frozenset)):
        yield repr(sorted(map(repr, value)))
    elif isinstance(value, (list, tuple)):
        yield from _each(dict(enumerate(value)), depth)
    elif isinstance(value, functools.partial):
        yield from _each({"func": value.func, "args": value.args, "keywords": value.keywords}, depth)
    elif isinstance(value, types.MethodType):
        yield from _told(value.__func__, depth)
    elif isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        code = value.__code__
        yield f"{value.__qualname__}{code.co_code.hex()}{code.co_names}"
        yield from _each({"d": value.__defaults__, "k": value.__kwdefaults__, "c": cells}, depth)
    else:
        yield type(value).__qualname__
        yield from _each(dict(sorted(getattr(value, "__dict__", {}).items())), depth)


def _each(parts: Mapping[Any, Any], depth: int) -> Iterator[str]:
    for key, part in parts.items():
        yield f"{key}:"
        yield from _told(part, depth + 1)


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # it is deleted
        return False
