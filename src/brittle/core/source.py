"""What the source of a component says of it: settings, their values, defaults and meaning; read, never run."""

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from brittle.core import components
from brittle.core.spec import text_of

WORDS = {"int": "whole number", "float": "number", "str": "text", "bool": "true or false"}
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


class Setting(NamedTuple):
    """A setting: what it may be, its default as a spec writes it (empty where it must be given), what it is."""

    name: str
    values: str
    default: str
    meaning: str


class Description(NamedTuple):
    """A component: its module's first paragraph, the paragraphs of its function, what stands after its colon (empty
    where nothing does), its settings, the traits that its module states, as source text where they are no plain
    values, and by the names of its presets what they are and what they set."""

    summary: str
    about: list[str]
    argument: str
    settings: list[Setting]
    traits: dict[str, Any]
    presets: dict[str, tuple[str, dict[str, str]]]


def describe(kind: str, name: str) -> Description:
    """A component as its source describes it; no component is imported."""
    path = components.path_of(kind, name)
    place, function, about = _function(path, name)
    text, meanings = _parts(about)
    settings: list[Setting] = []
    for each, node in zip(function.args.kwonlyargs, function.args.kw_defaults):
        value = "" if node is None else _literal(place, node)
        default = value if isinstance(value, str) and (value or node is None) else text_of(value)
        settings.append(
            Setting(each.arg, _values(place, each.arg, each.annotation), default, meanings.get(each.arg, ""))
        )
    first = function.args.posonlyargs[:1]
    argument = meanings.get("argument", "text") if first and first[0].arg == "argument" else ""
    return Description(components.summary(kind, name), text, argument, settings, _traits(path), presets(kind, name))


def presets(kind: str, name: str) -> dict[str, tuple[str, dict[str, str]]]:
    """The presets of a component by name: what the text below each in its source says, and the settings as a spec or
    the source writes them; empty where it has none."""
    path = components.path_of(kind, name)
    if "presets" not in path.read_text(encoding="utf8"):  # in no time, as reading a file as Python does not take
        return {}
    named = next((node for key, node in _stated(path) if key == "presets"), None)
    if not isinstance(named, ast.Dict):
        return {}
    made: dict[str, tuple[str, dict[str, str]]] = {}
    for name, node in ((_literal(path, key), node) for key, node in zip(named.keys, named.values) if key):
        settings = {
            each: value if isinstance(value, str) else text_of(value) for each, value in _literal(path, node).items()
        }
        made[name] = (_below(path, ast.unparse(node)), settings)
    return made


def example_argument(kind: str, name: str) -> str:
    """What its docstrings write after the colon as an example; ``...`` where they have none."""
    text = components.path_of(kind, name).read_text(encoding="utf8")
    found = re.search(rf"``{name}:([^`(\s]+)", text)
    return found[1] if found else "..."


@cache
def _module(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf8"))


def _function(path: Path, name: str) -> tuple[Path, ast.FunctionDef, str]:
    """The function of a name, the file that it stands in, and its docstring; where it is made by a call of another,
    what that one returns, with its maker's docstring."""
    found = _defined(path, name)
    if found is None:
        raise LookupError(f"{path} defines no {name}")
    place, node = found
    if isinstance(node, ast.FunctionDef):
        return place, node, ast.get_docstring(node) or ""
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    place, maker, about = _function(place, node.func.id)
    inner = [each for each in maker.body if isinstance(each, ast.FunctionDef)]
    return place, inner[-1], about


def _defined(path: Path, name: str) -> tuple[Path, ast.AST] | None:
    """What a name of a module stands for: a function, or the value assigned to it, and the file that it stands in,
    through the imports from other modules of the package."""
    for node in _module(path).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return path, node
        if isinstance(node, ast.Assign) and any(isinstance(at, ast.Name) and at.id == name for at in node.targets):
            return path, node.value
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("brittle."):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _defined(_file(node.module or ""), alias.name)
    return None


def _file(module: str) -> Path:
    """The file of a module of the package, found without importing it."""
    root = Path(__file__).parents[1].joinpath(*module.split(".")[1:])
    return root / "__init__.py" if root.is_dir() else root.with_suffix(".py")


def _values(path: Path, key: str, node: ast.AST | None) -> str:
    """What a setting may be, in words."""
    kind = components.kind_of(key)
    if kind:
        one = components.singular(kind)
        return f"specs of {kind}" if key == kind else f"spec of {'an' if one[0] in 'aeo' else 'a'} {one}"
    return _words(path, node)


def _words(path: Path, node: ast.AST | None) -> str:
    if isinstance(node, ast.Name):
        found = None if node.id in WORDS else _defined(path, node.id)
        return _words(*found) if found else WORDS.get(node.id, node.id)
    if isinstance(node, ast.BinOp):
        return f"{_words(path, node.left)} or {_words(path, node.right)}"
    if not isinstance(node, ast.Subscript):
        return ast.unparse(node) if node else ""
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    match ast.unparse(node.value):
        case "Literal":
            names = [text_of(ast.literal_eval(each)) for each in parts]
            return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        case "Annotated":
            return " ".join([_words(path, parts[0]), *_bounds(parts[1])])
        case "Sequence":
            return f"list, each {_words(path, parts[0])}"
        case _:  # a tuple
            return f"[{', '.join(_words(path, each) for each in parts)}]"


def _bounds(node: ast.expr) -> Iterator[str]:
    keywords = node.keywords if isinstance(node, ast.Call) else []
    said = [f"{BOUNDS[each.arg]} {ast.unparse(each.value)}" for each in keywords if each.arg in BOUNDS]
    yield from [", ".join(said)] if said else []


def _parts(docstring: str) -> tuple[list[str], dict[str, str]]:
    """The paragraphs of a docstring outside its sections, and what its ``Args`` say of each parameter."""
    text = inspect.cleandoc(docstring)
    section = r"^{}:\n((?: .*\n?|\n)+)"
    given = re.search(section.format("Args"), text, re.MULTILINE)
    meanings: dict[str, str] = {}
    for entry in re.findall(r"^    (\w[\w, ]*): ((?:.*\n?)(?:^     +.*\n?)*)", given[1] if given else "", re.MULTILINE):
        meanings |= {name.strip(): " ".join(entry[1].split()) for name in entry[0].split(",")}
    prose = re.sub(section.format("(?:Args|Returns|Raises)"), "", text, flags=re.MULTILINE)
    return [" ".join(each.split()) for each in prose.split("\n\n") if each.strip()], meanings


def _below(path: Path, name: str) -> str:
    """The text that stands below the assignment to a name, and says what it is."""
    for node, after in pairwise(_module(path).body):
        named = isinstance(node, ast.Assign) and any(isinstance(at, ast.Name) and at.id == name for at in node.targets)
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            return " ".join(str(after.value.value).split())
    return ""


def _stated(path: Path) -> list[tuple[str, ast.expr]]:
    """The traits of a module as they stand in its source."""
    found = _defined(path, "TRAITS")
    keywords = found[1].keywords if found and isinstance(found[1], ast.Call) else []
    return [(str(each.arg), each.value) for each in keywords]


def _traits(path: Path) -> dict[str, Any]:
    return {key: _literal(path, node) for key, node in _stated(path)}


def _literal(path: Path, node: ast.AST) -> Any:
    """A value that is written out, also where a name stands for it; else its source text."""
    if isinstance(node, ast.Name) and (found := _defined(path, node.id)):
        return node.id if isinstance(found[1], ast.FunctionDef) else _literal(*found)
    if isinstance(node, ast.Dict):
        made: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values):
            read = _literal(path, value)
            made |= {_literal(path, key): read} if key else read  # no key: **read
        return made
    if isinstance(node, ast.JoinedStr):
        return "".join(str(_literal(path, part)) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return format(_literal(path, node.value), _literal(path, node.format_spec) if node.format_spec else "")
    try:
        return ast.literal_eval(ast.unparse(node))
    except ValueError:
        return ast.unparse(node).replace(" ", "")  # 8/255
