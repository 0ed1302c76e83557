"""Names that stand for components: ``name``, ``name:argument``, ``name(key=value)``, ``name:argument(key=value)``; parsed, never evaluated.

A component is the function NAME in ``brittle/KIND/NAME.py``. Its keyword-only parameters are what a spec may set, and their annotations
say which values are right.
"""

import ast
import importlib
import inspect
import math
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Union, get_type_hints

from brittle.errors import UsageError, unknown

Value = Union[bool, int, float, str, list["Value"], "Spec"]  # noqa: UP007 - it names itself
KINDS = ("encoders", "datasets", "tasks", "objectives", "attacks", "checks", "tuning", "reports", "launch")

DEEPEST = 16  # brackets within brackets

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BARE = re.compile(r"[^\s,()\[\]='\"]+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True)
class Spec:
    """A parsed spec; ``str`` gives its canonical text."""

    name: str
    argument: str = ""
    settings: Mapping[str, Value] = field(default_factory=dict[str, Value])

    def __str__(self) -> str:
        argument = f":{self.argument}" if self.argument else ""
        settings = ", ".join(f"{key}={_text(value)}" for key, value in self.settings.items())
        return f"{self.name}{argument}({settings})" if settings else f"{self.name}{argument}"

    def __hash__(self) -> int:
        return hash(str(self))


def number(text: str) -> int | float:
    """A finite number written as ``8``, ``0.5``, ``1e-3`` or ``8/255``.

    Raises:
        UsageError: anything else, ``nan``, ``inf``, a zero denominator, or a value float cannot hold.
    """
    parts = [part.strip() for part in text.strip().split("/")]
    if len(parts) > 2 or not all(_NUMBER.fullmatch(part) for part in parts):
        raise UsageError(f"{text!r} is no number; write it as 8/255, 0.03 or 3e-2")
    values = [int(part) if re.fullmatch(r"[+-]?\d{1,18}", part) else float(part) for part in parts]
    if len(values) == 2 and values[1] == 0:
        raise UsageError(f"{text!r} divides by zero; write it as 8/255, 0.03 or 3e-2")
    result = values[0] / values[1] if len(values) == 2 else values[0]
    if not math.isfinite(result):
        raise UsageError(f"{text!r} is not finite; write it as 8/255, 0.03 or 3e-2")
    return result


def parse(text: str) -> Spec:
    """The spec that ``text`` stands for.

    Raises:
        UsageError: with the text and the place where it stops making sense.
    """
    text = text.strip()
    start = _NAME.match(text)
    if not start:
        raise UsageError(f"{text!r} is no spec; write name, name:argument or name(key=value)")
    rest = text[start.end() :]
    argument = ""
    if rest.startswith(":"):
        cut = _settings_start(rest)
        argument, rest = rest[1:cut].strip(), rest[cut:]
        if not argument:
            raise UsageError(f"{text!r} has nothing after the colon; write name:argument")
    settings: dict[str, Value] = {}
    if rest:
        reader = _Reader(text, len(text) - len(rest))
        settings = reader.settings()
        reader.end()
    return Spec(start.group(), argument, settings)


def _settings_start(rest: str) -> int:
    """Where the trailing ``(key=...)`` begins, if there is one; brackets inside an argument (a path, say) are left alone."""
    if rest.endswith(")"):
        for place in [m.start() for m in re.finditer(r"\(", rest)]:
            if re.match(r"\(\s*([A-Za-z_]\w*\s*=|\)$)", rest[place:]):
                return place
    return len(rest)


class _Reader:
    """Reads values from ``text`` at ``at``."""

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at, self.depth = text, at, 0

    def fail(self, wanted: str) -> UsageError:
        return UsageError(f"{self.text!r} breaks off at {self.text[self.at :]!r}; expected {wanted}")

    def skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def take(self, mark: str) -> bool:
        self.skip()
        found = self.text.startswith(mark, self.at)
        self.at += len(mark) * found
        return found

    def match(self, pattern: re.Pattern[str], wanted: str) -> str:
        self.skip()
        found = pattern.match(self.text, self.at)
        if not found:
            raise self.fail(wanted)
        self.at = found.end()
        return found.group()

    def end(self) -> None:
        self.skip()
        if self.at != len(self.text):
            raise self.fail("the end")

    def settings(self) -> dict[str, Value]:
        if not self.take("("):
            raise self.fail("'(key=value, ...)'")
        found: dict[str, Value] = {}
        while not self.take(")"):
            key = self.match(_NAME, "a keyword or ')'")
            if key in found:
                raise UsageError(f"{self.text!r} gives {key!r} twice; give it once")
            if not self.take("="):
                raise self.fail("'='")
            found[key] = self.value()
            if not self.take(",") and not self.text.startswith(")", self.at):
                raise self.fail("',' or ')'")
        return found

    def value(self) -> Value:
        self.depth += 1
        if self.depth > DEEPEST:
            raise UsageError(f"{self.text[:40]!r}... is nested more than {DEEPEST} deep; write it flatter")
        try:
            return self.one()
        finally:
            self.depth -= 1

    def one(self) -> Value:
        self.skip()
        for quote in "'\"":
            if self.text.startswith(quote, self.at):
                end = self.text.find(quote, self.at + 1)
                if end < 0:
                    raise self.fail(f"a closing {quote}")
                found, self.at = self.text[self.at + 1 : end], end + 1
                return found
        if self.take("["):
            items: list[Value] = []
            while not self.take("]"):
                items.append(self.value())
                if not self.take(",") and not self.text.startswith("]", self.at):
                    raise self.fail("',' or ']'")
            return items
        word = self.match(_BARE, "a value")
        self.skip()
        if self.text.startswith("(", self.at):
            inner, settings = parse(word), self.settings()
            return Spec(inner.name, inner.argument, settings) if settings else str(inner)  # pgd() is pgd
        if word.lower() in _WORDS:
            return _WORDS[word.lower()]
        if re.match(r"[+-]?\.?\d", word) and re.fullmatch(r"[-+.\d/eE]+", word):
            return number(word)
        return word


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_text(item) for item in value)}]"
    if isinstance(value, str):
        plain = _BARE.fullmatch(value) and value.lower() not in _WORDS and not re.match(r"[+-]?\.?\d", value)
        return value if plain else ('"' if "'" in value else "'").join(["", value, ""])
    return repr(value) if isinstance(value, float) else str(value)


# --- components --------------------------------------------------------------------------------------------------------------


@cache
def names(kind: str) -> tuple[str, ...]:
    """The components of a kind, by looking at the folder; nothing is imported."""
    folder = Path(__file__).parent / kind
    return tuple(sorted(path.stem for path in folder.glob("[a-z]*.py")))


def summary(kind: str, name: str) -> str:
    """First line of a component's module docstring, read without importing it."""
    tree = ast.parse((Path(__file__).parent / kind / f"{name}.py").read_text(encoding="utf8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def module(kind: str, name: str) -> types.ModuleType:
    """The module of a component.

    Raises:
        UsageError: there is none of that name (the nearest is named), or it needs an extra that is not installed.
    """
    if name not in names(kind):
        raise unknown(kind.removesuffix("s") if kind != "tuning" else "tuning method", name, names(kind))
    try:
        return importlib.import_module(f"brittle.{kind}.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("brittle"):
            raise
        raise UsageError(f"{name!r} needs the package {error.name!r}; install it with pip install {error.name}") from None


def component(kind: str, name: str) -> Callable[..., Any]:
    """The function NAME in KIND/NAME.py."""
    return getattr(module(kind, name), name)


def kind_of(key: str) -> str:
    """The kind of component that a setting of this name holds a spec of (``objective``: objectives; ``attacks``: a list), or nothing."""
    return next((kind for kind in (key, f"{key}s") if kind in KINDS), "")


def versions(kind: str, spec: Spec) -> dict[str, int]:
    """``VERSION`` (1 where there is none), raised by whoever changes what a component computes, of it, of those its settings name, and of
    those its module uses or lists in ``PARTS``."""
    found = {f"{kind}.{spec.name}": getattr(module(kind, spec.name), "VERSION", 1)}
    for used in vars(module(kind, spec.name)).values():
        name = getattr(used, "__name__", "").split(".") if isinstance(used, types.ModuleType) else []
        if len(name) == 3 and name[0] == "brittle" and name[1] in KINDS and name[2] in names(name[1]):
            found |= versions(name[1], Spec(name[2]))
    for part in getattr(module(kind, spec.name), "PARTS", ()):
        found |= versions(kind, complete(kind, part))
    for key, value in spec.settings.items():
        for each in nested(key, value):
            found |= versions(kind_of(key), parse(each))
    return found


def nested(key: str, value: Value) -> list[str]:
    """The specs that a setting holds: ``objective`` one, ``attacks`` a list; none where it holds something else."""
    values = value if isinstance(value, list) else [value]
    return [str(each) for each in values] if kind_of(key) else []


def rewritten(key: str, value: Value, rewrite: Callable[[str, str], str]) -> Value:
    """A setting's value with each spec in it put through ``rewrite`` (kind, text)."""
    texts: list[Value] = [rewrite(kind_of(key), text) for text in nested(key, value)]
    return value if not kind_of(key) else texts if isinstance(value, list) else texts[0]


def complete(kind: str, spec: Spec | str) -> Spec:
    """The spec with every setting written out and checked, in the order of the component's signature.

    Raises:
        UsageError: unknown component, unknown setting, or a value its annotation does not allow.
    """
    from pydantic import TypeAdapter, ValidationError

    spec = parse(spec) if isinstance(spec, str) else spec
    function = component(kind, spec.name)
    signature = inspect.signature(function)
    settings = {key: p for key, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}
    hints = get_type_hints(function, include_extras=True)
    for key in spec.settings:
        if key not in settings:
            raise unknown(f"setting of {spec.name!r} called", key, settings)
    if spec.argument and "argument" not in signature.parameters:
        raise UsageError(f"{spec.name!r} takes nothing after a colon, got {spec.argument!r}; write {spec.name}(key=value)")
    full: dict[str, Value] = {}
    for key, parameter in settings.items():
        value = spec.settings.get(key, default(parameter))
        if value is parameter.empty:
            raise UsageError(f"{spec.name!r} needs {key}; write {spec.name}({key}=...)")
        given = [str(each) if isinstance(each, Spec) else each for each in (value if isinstance(value, list) else [value])]
        try:
            full[key] = TypeAdapter(hints.get(key, Any)).validate_python(given if isinstance(value, list) else given[0])
            full[key] = rewritten(key, full[key], lambda inner, text: str(complete(inner, text)))
        except ValidationError as error:
            raise UsageError(f"{spec.name}({key}={_text(value)}): {error.errors()[0]['msg'].lower()}") from None
    return Spec(spec.name, spec.argument, full)


def default(parameter: inspect.Parameter) -> Any:
    """A setting's default, as a spec would give it: a list where the signature has a tuple."""
    return list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default


def build(kind: str, spec: Spec | str, *arguments: object) -> Any:
    """Call a component with ``arguments`` and its spec's settings; the spec's own argument comes first where it takes one."""
    full = complete(kind, spec)
    function = component(kind, full.name)
    first = (full.argument,) if "argument" in inspect.signature(function).parameters else ()
    return function(*first, *arguments, **full.settings)
