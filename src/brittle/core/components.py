"""Components by name: found in the folder of their kind, completed and checked against their signature, and built.

A component is the function NAME in ``brittle/KIND/NAME.py``. Its keyword-only parameters are what a spec may set, and
their annotations say which values are right; the record ``TRAITS`` in its module says what it can do.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_type_hints, overload

from brittle.core.errors import UsageError, unknown
from brittle.core.spec import Spec, Value, parse, text_of
from brittle.core.traits import RECORDS, Traits

if TYPE_CHECKING:
    from torch import Tensor

    from brittle.tuning.parts.method import Method
    from brittle.types import Dataset, Encoder, Network, Objective, Task

KINDS = ("encoders", "models", "datasets", "tasks", "objectives", "attacks", "checks", "tuning", "reports", "launch")


class Component(NamedTuple):
    """What a name stands for: the ``function`` that a spec calls, and its ``traits``."""

    function: Callable[..., Any]
    traits: Traits


_handed_over: dict[tuple[str, str], Component] = {}


def hand_over(kind: str, name: str, component: Component) -> None:
    """Make a Python object a component of this process, beside those in the folder of its kind, until ``take_back``."""
    _handed_over[kind, name] = component


def take_back(kind: str, name: str) -> None:
    """Forget a component that was handed over, and what was remembered of specs that may name it."""
    _handed_over.pop((kind, name), None)
    _completed.cache_clear()
    canonical.cache_clear()


@cache
def names(kind: str) -> tuple[str, ...]:
    """The components of a kind, by looking at the folder; nothing is imported."""
    return tuple(sorted(path.stem for folder in _folders(kind) for path in Path(folder).glob("[a-z]*.py")))


def _folders(kind: str) -> Sequence[str]:
    """Where the modules of a kind are; more than one where the package's ``__path__`` was extended."""
    return list(importlib.import_module(f"brittle.{kind}").__path__)


def singular(kind: str) -> str:
    """What one component of a kind is called."""
    return {"tuning": "tuning method", "datasets": "data set", "launch": "launcher"}.get(kind, kind.removesuffix("s"))


def path_of(kind: str, name: str) -> Path:
    """The file of a component."""
    return next(path for folder in _folders(kind) if (path := Path(folder, f"{name}.py")).is_file())


def summary(kind: str, name: str) -> str:
    """The first paragraph of a component's module docstring, on one line; read without importing the module."""
    start = re.match(r'\s*"""(.+?)(\n\n|""")', path_of(kind, name).read_text(encoding="utf8"), re.DOTALL)
    return " ".join(start[1].split()) if start else ""


def _module(kind: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(f"brittle.{kind}.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("brittle"):
            raise
        from brittle.core.installed import needs  # slow to import, for a command that does without

        raise UsageError(f"{name!r} {needs((error.name or '').partition('.')[0])}") from None


@cache
def _in_folder(kind: str, name: str) -> Component:
    module = _module(kind, name)
    record = RECORDS.get(kind, Traits)
    traits = getattr(module, "TRAITS", None) or record()
    if not isinstance(traits, record):
        raise UsageError(f"{kind}/{name}.py: TRAITS is a {type(traits).__name__}; it must be {record.__name__}")
    return Component(getattr(module, name), traits)


def component(kind: str, name: str) -> Component:
    """The component of a name.

    Raises:
        UsageError: there is none of that name (the nearest is named), it needs a package that is not installed, or its
            module has a record of another kind.
    """
    if (kind, name) in _handed_over:
        return _handed_over[kind, name]
    if name not in names(kind):
        raise unknown(singular(kind), name, names(kind))
    return _in_folder(kind, name)


def kind_of(key: str) -> str:
    """The kind of component that a setting of this name holds a spec of (``objective``: objectives; ``attacks``: a
    list), or nothing."""
    return next((kind for kind in (key, f"{key}s") if kind in KINDS), "")


def meant(kind: str, spec: Spec) -> tuple[str, Spec]:
    """The kind and the spec that everything is asked of: of a component that only ``names`` another (``Traits``), that
    one, with the settings.

    Raises:
        UsageError: its argument is no spec.
    """
    names = component(kind, spec.name).traits.names
    if not names:
        return kind, spec
    if not spec.argument:
        raise UsageError(f"{spec.name!r} needs one of {names}; write {spec.name}:NAME:ARGUMENT")
    inner = parse(spec.argument)
    return meant(names, Spec(inner.name, inner.argument, {**inner.settings, **spec.settings}))


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
    return _completed(kind, spec) if isinstance(spec, str) else _complete(kind, spec)


@cache
def _completed(kind: str, text: str) -> Spec:
    return _complete(kind, parse(text))


def _complete(kind: str, spec: Spec) -> Spec:
    from pydantic import TypeAdapter, ValidationError

    inner, named = meant(kind, spec)
    if inner != kind:
        whole = complete(inner, named)
        return Spec(spec.name, str(Spec(whole.name, whole.argument)), whole.settings)
    function = component(kind, spec.name).function
    signature = inspect.signature(function)
    settings = settings_of(function)
    hints = get_type_hints(function, include_extras=True)
    for key in spec.settings:
        if key not in settings:
            raise unknown(f"setting of {spec.name!r} called", key, settings)
    if spec.argument and "argument" not in signature.parameters:
        wanted = f"write {spec.name}(key=value)"
        raise UsageError(f"{spec.name!r} takes nothing after a colon, got {spec.argument!r}; {wanted}")
    full: dict[str, Value] = {}
    for key, default in settings.items():
        value = spec.settings.get(key, default)
        if value is inspect.Parameter.empty:
            raise UsageError(f"{spec.name!r} needs {key}; write {spec.name}({key}=...)")
        values = value if isinstance(value, list) else [value]
        given = [str(each) if isinstance(each, Spec) else each for each in values]
        try:
            full[key] = TypeAdapter(hints.get(key, Any)).validate_python(given if isinstance(value, list) else given[0])
        except ValidationError as error:
            first = error.errors()[0]
            many = first["type"] == "less_than_equal" and f"{key}s" in settings  # step=40 for steps=40
            hint = f"; did you mean {key}s={text_of(value)}?" if many else ""
            raise UsageError(f"{spec.name}({key}={text_of(value)}): {first['msg'].lower()}{hint}") from None
        full[key] = rewritten(key, full[key], lambda inner, text: str(complete(inner, text)))
    return Spec(spec.name, spec.argument, full)


def settings_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    """A component's settings and their defaults as a spec would give them: a list where the signature has a tuple,
    ``inspect.Parameter.empty`` where there is none."""
    parameters = inspect.signature(function).parameters.values()
    settings = {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}


@cache
def canonical(kind: str, text: str) -> str:
    """Canonical text of a spec, checked, without the settings that stand at their defaults."""
    full = complete(kind, text)
    inner, named = meant(kind, full)
    defaults = settings_of(component(inner, named.name).function)
    settings: dict[str, Value] = {}
    for key, value in full.settings.items():
        brief = rewritten(key, value, canonical)
        if (list(brief) if isinstance(brief, tuple) else brief) != defaults[key]:
            settings[key] = brief
    return str(Spec(full.name, full.argument, settings))


@overload
def build(kind: Literal["encoders"], spec: Spec | str, *arguments: object) -> "Encoder | Network": ...
@overload
def build(kind: Literal["models"], spec: Spec | str, *arguments: object) -> "Network": ...
@overload
def build(kind: Literal["datasets"], spec: Spec | str, *arguments: object) -> "Dataset": ...
@overload
def build(kind: Literal["tasks"], spec: Spec | str, *arguments: object) -> "Task": ...
@overload
def build(kind: Literal["objectives"], spec: Spec | str, *arguments: object) -> "Objective": ...
@overload
def build(kind: Literal["attacks"], spec: Spec | str, *arguments: object) -> "Tensor": ...
@overload
def build(kind: Literal["launch"], spec: Spec | str, *arguments: object) -> None: ...
@overload
def build(kind: Literal["tuning"], spec: Spec | str, *arguments: object) -> "Method": ...
def build(kind: str, spec: Spec | str, *arguments: object) -> Any:
    """What a component makes of ``arguments`` and its spec's settings; the spec's own argument comes first where the
    component takes one. Text is completed; a Spec must be complete."""
    kind, full = meant(kind, complete(kind, spec) if isinstance(spec, str) else spec)
    return call(component(kind, full.name).function, full, *arguments)


def call(function: Callable[..., Any], spec: Spec, *arguments: object) -> Any:
    """A component's function, or one of those in its traits, called with a complete spec's argument (where it takes
    one), ``arguments`` and the settings."""
    first = (spec.argument,) if "argument" in inspect.signature(function).parameters else ()
    return function(*first, *arguments, **spec.settings)
