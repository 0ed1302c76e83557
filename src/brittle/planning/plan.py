"""Plans: what is to be measured, as plain data read from a file or made of options."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic
import yaml

from brittle.core import budget, files
from brittle.core.errors import MissingError, UsageError, unknown
from brittle.core.spec import parse
from brittle.planning import protocols
from brittle.planning.words import SHARED, UNNAMED, packaged, text_of

LARGEST = 2**20  # bytes of a plan file
Text = Annotated[str, pydantic.StringConstraints(min_length=1, strict=True)]


class Plan(pydantic.BaseModel):
    """A plan file's content; every list is crossed with every other.

    ``tasks`` empty means all that a data set has targets for; a task that needs no target is measured only where it is
    named. ``eps`` may be written 8/255, and must be given for l2 and l1. ``downstream`` among the attacks is the task's
    own attack of the paper. The clean row is always measured. ``limit``: how many test images, drawn balanced over
    classes; ``protocol: standard(subset=first)`` takes the first ones. ``sources`` says where to get files that a spec
    names, ``report`` what is printed at the end.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, pydantic.StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] = UNNAMED
    encoders: list[Text]
    datasets: list[Text]
    tasks: list[Text] = []
    attacks: list[Text] = ["embed", "downstream"]
    eps: list[Annotated[float, pydantic.Field(strict=True)] | Text] = [budget.DEFAULT]
    norm: Literal["linf", "l2", "l1"] = "linf"
    seeds: list[Annotated[int, pydantic.Field(ge=0, lt=2**63, strict=True)]] = [0]
    limit: Annotated[int, pydantic.Field(ge=1, strict=True)] | None = None
    checks: Literal["none", "fast", "full"] = "fast"
    protocol: Text = "standard"
    sources: dict[str, str] = {}
    report: Text = "table"


def make(**values: Any) -> Plan:
    """A plan of values, refused in one line where they make no sense."""
    try:
        plan = Plan.model_validate(values)
    except pydantic.ValidationError as error:
        extra = [each for each in error.errors() if each["type"] == "extra_forbidden"]
        first = (extra or error.errors())[0]  # a key with a slip of the pen is why another is missing
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown("key of a plan called", where, Plan.model_fields) from None
        raise UsageError(f"plan: {where}: {first['msg'].lower()}, got {first['input']!r}") from None
    if "eps" not in values:
        budget.default_eps(plan.norm)
    plan = plan.model_copy(update={"protocol": protocols.canonical(plan.protocol)})
    for key in ("encoders", "datasets", "attacks", "eps", "seeds"):
        if not getattr(plan, key) and key != "attacks":
            raise UsageError(f"plan: {key} is empty; name at least one")
    return plan


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a duplicate key and any alias, and whose plain words are what YAML 1.2 makes of them:
    true, false, null, decimal numbers (1e-4 too) and text, so that neither ``no`` nor ``1:30`` nor a date is anything
    else."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # pyright: ignore[reportIncompatibleVariableOverride]

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise UsageError("plan: YAML aliases (*name) are not allowed; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int, float)):
                raise UsageError(
                    f"plan: a key is a {type(key).__name__} (line {key_node.start_mark.line + 1}); write a word"
                )
            if key in seen:
                raise UsageError(f"plan: key {key!r} stands twice (line {key_node.start_mark.line + 1}); keep one")
            seen.add(key)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]{1,18}$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?$", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _decimal(loader: yaml.SafeLoader, node: Any) -> int:
    return int(loader.construct_scalar(node))  # YAML 1.1 takes 010 for 8


_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)


def read(name: str, roots: Mapping[str, str] | None = None) -> Plan:
    """The plan in a YAML file, or the packaged plan of that name.

    Args:
        roots: what stands for ``{data}`` and ``{weights}`` in its specs.

    Raises:
        MissingError: there is neither.
        UsageError: no YAML, a duplicate or unknown key, a value that makes no sense.
    """
    path = files.expanded(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise MissingError(f"no plan file {name}; packaged plans: {', '.join(packaged())}")
        if path.stat().st_size > LARGEST:
            raise UsageError(f"{name}: has {path.stat().st_size} bytes; a plan has at most {LARGEST}")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise UsageError(f"{name}: is no UTF-8 text (byte {error.start}); save it as UTF-8") from None
    elif name in packaged():
        text = text_of(name)
    else:
        raise unknown("plan", name, packaged())
    try:
        values = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except RecursionError:
        raise UsageError(f"{name}: is nested too deep for a plan; write it flatter") from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise UsageError(f"{name}: is no YAML: {' '.join(str(error).split())[:160]}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{name}: a plan is keys and values, got {type(values).__name__}")
    plan = make(**{str(key): value for key, value in values.items()})
    places = {"data": ".", "weights": ".", **(roots or {})}
    places = {key: str(files.expanded(root)) for key, root in places.items()}

    def placed(texts: list[str]) -> list[str]:
        for key, root in places.items():
            texts = [text.replace(f"{{{key}}}", root) for text in texts]
        return texts

    return plan.model_copy(update={"encoders": placed(plan.encoders), "datasets": placed(plan.datasets)})


def folder(plan: Plan, original: Plan | None = None) -> Path:
    """Where a run goes if nobody says: ``runs/NAME``; where a plan has no name, or shares with the ``original`` of its
    name not all of ``SHARED``, ``runs/ENCODER-DATA-HASH`` or ``runs/NAME-HASH``, so that only numbers that belong
    together lie together. The hash is over ``SHARED``."""
    mine, theirs = ([getattr(each, key) for key in SHARED] for each in (plan, original or plan))
    if plan.name != UNNAMED and mine == theirs:
        return Path("runs") / plan.name
    words = [_short(plan.encoders), _short(plan.datasets)] if plan.name == UNNAMED else [plan.name]
    return Path("runs") / "-".join([*words, files.sha256(json.dumps(mine))[:6]])


def _short(texts: Sequence[str]) -> str:
    """What specs are called in the name of a folder."""
    try:
        spec = parse(texts[0])
    except UsageError:  # is refused later
        return "run"
    path = Path(spec.argument)
    name = path.parent.name if path.stem == "encoder" else path.stem  # as a tuning calls its own
    short = re.sub(r"[^A-Za-z0-9._-]+", "-", name or spec.name)[:30].strip(".-")
    return f"{short}+{len(texts) - 1}" if len(texts) > 1 else short
