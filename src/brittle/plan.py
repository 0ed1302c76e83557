"""What is to be measured, as plain data: cells, their identity, their results, and the grid that a plan stands for. No torch here."""

import hashlib
import inspect
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.resources import files as resources
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

from brittle import spec
from brittle.errors import MissingError, UsageError, unknown

SCHEMA_VERSION = 1
PROTOCOLS = ("standard",)
NORMS = ("linf", "l2")


@dataclass(frozen=True)
class Cell:
    """One number to be measured. Specs are canonical text without the settings left at their defaults; ``attack``, ``eps`` and ``norm``
    are None for the clean row; ``limit`` is the number of test pictures, None for all."""

    encoder: str
    dataset: str
    task: str
    attack: str | None
    eps: float | None
    norm: str | None
    seed: int
    limit: int | None
    protocol: str

    def __str__(self) -> str:
        attack = f"{self.attack} {eps_text(self.eps)} {self.norm}" if self.attack else "clean"
        return f"{self.encoder} / {self.dataset} / {self.task} / {attack}"


Verdict = Literal["ok", "warn", "fail", "unchecked"]


@dataclass(frozen=True)
class Finding:
    """What a check says of a number: ``unchecked`` where it could not look."""

    name: str
    verdict: Verdict
    value: float | None
    why: str


EVIDENCE = ("none", "fast", "full")
"""What checks may gather for a number, each more than the one before."""


@dataclass(frozen=True)
class Result:
    """A measured cell, or (``failed`` not None) the reason why it could not be.

    ``task`` holds what a report must know of it: headline, higher_is_better, attack. ``intervals`` are 95 %. ``cost`` has seconds,
    forwards, backwards, peak_bytes; ``made_by`` versions, device, weights_sha256, data_sha256. ``curve``: the metrics after each step,
    where the attack was told to follow them.
    """

    id: str
    cell: Cell
    task: Mapping[str, Any]
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    metrics_uint8: Mapping[str, float] = field(default_factory=dict[str, float])
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    images: int = 0
    image_ids_sha256: str = ""
    findings: Sequence[Finding] = ()
    cost: Mapping[str, float] = field(default_factory=dict[str, float])
    made_by: Mapping[str, Any] = field(default_factory=dict[str, Any])
    curve: Sequence[Mapping[str, float]] = ()
    failed: str | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def evidence(self) -> str:
        """How much evidence there is for the number, or could be: one of ``EVIDENCE``."""
        return str(self.made_by.get("checks", "fast" if self.findings or not self.cell.attack else "none"))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Result":
        """Raises UsageError where the data is of another schema."""
        if data.get("schema_version") != SCHEMA_VERSION:
            raise UsageError(f"result of schema {data.get('schema_version')!r}; this version reads {SCHEMA_VERSION}")
        known = {f.name for f in fields(cls)}
        row = {key: value for key, value in data.items() if key in known}
        row["cell"] = Cell(**row["cell"])
        row["findings"] = tuple(Finding(**item) for item in row["findings"])
        row["intervals"] = {key: (low, high) for key, (low, high) in row["intervals"].items()}
        row["curve"] = tuple(row.get("curve", ()))
        return cls(**row)


def eps_text(eps: float | None) -> str:
    """8/255 where eps is a whole number of 8-bit levels, else the number."""
    if eps is None:
        return ""
    level = eps * 255
    return f"{round(level)}/255" if eps and abs(level - round(level)) < 1e-6 and level < 256 else f"{eps:g}"


# --- plans -------------------------------------------------------------------------------------------------------------------

Text = Annotated[str, pydantic.StringConstraints(min_length=1, strict=True)]


class Plan(pydantic.BaseModel):
    """A plan file's content; every list is crossed with every other.

    ``tasks`` empty means all that a data set has targets for; a task that needs no target is measured only where it is named. ``eps`` may
    be written 8/255. ``downstream`` among the attacks is the task's own attack of the paper. The clean row is always measured. ``sources``
    says where to get files that a spec names, ``report`` what is printed at the end.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, pydantic.StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "run"
    encoders: list[Text]
    datasets: list[Text]
    tasks: list[Text] = []
    attacks: list[Text] = ["embed", "downstream"]
    eps: list[float | Text] = [8 / 255]
    norm: Literal["linf", "l2"] = "linf"
    seeds: list[Annotated[int, pydantic.Field(ge=0)]] = [0]
    limit: Annotated[int, pydantic.Field(ge=1)] | None = None
    checks: Literal["none", "fast", "full"] = "fast"  # EVIDENCE
    protocol: Text = "standard"
    sources: dict[str, str] = {}
    report: Text = "table"


def make(**values: Any) -> Plan:
    """A plan of values, refused in one line where they make no sense."""
    try:
        plan = Plan.model_validate(values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown("key of a plan called", where, Plan.model_fields) from None
        raise UsageError(f"plan: {where}: {first['msg'].lower()}, got {first['input']!r}") from None
    if plan.protocol not in PROTOCOLS:
        raise unknown("protocol", plan.protocol, PROTOCOLS)
    for key in ("encoders", "datasets", "attacks", "eps", "seeds"):
        if not getattr(plan, key) and key != "attacks":
            raise UsageError(f"plan: {key} is empty; name at least one")
    return plan


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a duplicate key and any alias, and reads 1e-4 as a number."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise UsageError("plan: YAML aliases (*name) are not allowed; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int, float)):
                raise UsageError(f"plan: a key is a {type(key).__name__} (line {key_node.start_mark.line + 1}); write a word")
            if key in seen:
                raise UsageError(f"plan: key {key!r} stands twice (line {key_node.start_mark.line + 1}); keep one")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read(name: str, roots: Mapping[str, str] | None = None) -> Plan:
    """The plan in a YAML file, or the packaged plan of that name.

    Args:
        roots: what stands for ``{data}`` and ``{weights}`` in its specs.

    Raises:
        MissingError: there is neither.
        UsageError: no YAML, a duplicate or unknown key, a value that makes no sense.
    """
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise MissingError(f"no plan file {name}; packaged plans: {', '.join(packaged())}")
        try:
            text = path.read_text(encoding="utf8")
        except UnicodeDecodeError as error:
            raise UsageError(f"{name}: is no UTF-8 text (byte {error.start}); save it as UTF-8") from None
    elif name in packaged():
        text = (resources("brittle") / "plans" / f"{name}.yaml").read_text(encoding="utf8")
    else:
        raise unknown("plan", name, packaged())
    try:
        values = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise UsageError(f"{name}: is no YAML: {' '.join(str(error).split())[:160]}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{name}: a plan is keys and values, got {type(values).__name__}")
    made = make(**{str(key): value for key, value in values.items()})
    found = {"data": ".", "weights": ".", **(roots or {})}

    def placed(texts: list[str]) -> list[str]:
        for key, root in found.items():
            texts = [text.replace(f"{{{key}}}", root) for text in texts]
        return texts

    return made.model_copy(update={"encoders": placed(made.encoders), "datasets": placed(made.datasets)})


def packaged() -> tuple[str, ...]:
    """Names of the plans that come with the package."""
    folder = resources("brittle") / "plans"
    return tuple(sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")))


def check_eps(value: float | str, norm: str = "linf") -> float:
    """eps as a finite number >= 0, from a number or text such as 8/255; for ``linf`` at most 1, the whole range of a pixel. In ``l2`` the
    largest that means anything is the square root of how many values a picture has, which is not known here.

    Raises:
        UsageError: anything else.
    """
    try:
        eps = float(spec.number(value)) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last: a tensor of several values
        raise UsageError(f"eps is {value!r:.40}; give one number in pixel units, such as 8/255") from None
    if not math.isfinite(eps) or eps < 0:
        raise UsageError(f"eps is {value}; it must be a finite number >= 0 in pixel units, such as 8/255")
    if norm == "linf" and eps > 1:
        meant = f"did you mean {eps:g}/255?" if eps.is_integer() and eps <= 255 else "such as 8/255"
        raise UsageError(f"eps is {value}; for linf it is in pixel units, 0 to 1; {meant}")
    return eps


def short(kind: str, text: str) -> str:
    """Canonical text of a spec, checked, without the settings that stand at their defaults."""
    full = spec.complete(kind, text)
    parameters = inspect.signature(spec.component(kind, full.name)).parameters
    settings: dict[str, spec.Value] = {}
    for key, value in full.settings.items():
        brief = spec.rewritten(key, value, short)
        if (list(brief) if isinstance(brief, tuple) else brief) != spec.default(parameters[key]):
            settings[key] = brief
    return str(spec.Spec(full.name, full.argument, settings))


@cache
def dataset_of(text: str, split: str) -> Any:
    """The data set of a spec, one split, made once."""
    return spec.build("datasets", text, split)


@cache
def task_of(text: str) -> Any:
    """The task of a spec, made once."""
    return spec.build("tasks", text)


# --- identity ----------------------------------------------------------------------------------------------------------------


def weights_of(encoder: str) -> str:
    """sha256 that stands for an encoder's weights: the component's ``fingerprint``, cheap, without building the network."""
    parsed = spec.complete("encoders", encoder)
    first = (parsed.argument,) if parsed.argument else ()
    return spec.module("encoders", parsed.name).fingerprint(*first, **parsed.settings)


def identity(cell: Cell, precision: str = "fp32") -> str:
    """A hash over every value that can change the number: all settings written out, weights, data, component versions, and the
    ``precision`` in which an attack runs the encoder."""
    named = {"encoders": cell.encoder, "datasets": cell.dataset, "tasks": cell.task, "attacks": cell.attack}
    parts = {kind: spec.complete(kind, text) for kind, text in named.items() if text}
    content = {
        "cell": {**asdict(cell), **{kind: str(full) for kind, full in parts.items()}},
        "versions": [spec.versions(kind, full) for kind, full in parts.items()],
        "measure": MEASURE_VERSION,
        "precision": precision if cell.attack else "fp32",
        "weights": weights_of(cell.encoder),
        "attack_data": _attack_data(parts["attacks"]) if cell.attack else "",
        "data": [dataset_of(cell.dataset, split).fingerprint for split in ("train", "val", "test")],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def _attack_data(full: spec.Spec) -> str:
    fingerprint = getattr(spec.module("attacks", full.name), "fingerprint", None)
    return fingerprint(full.argument) if fingerprint else ""


MEASURE_VERSION = 3
"""Raised whenever heads, protocol, scores, intervals or the loop of attacks change what any cell gives."""


def by_group(results: Iterable[Result]) -> dict[tuple[str, str, str], list[Result]]:
    """Results of one encoder on one data set and task, in order of appearance."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.cell.task, result.cell.dataset, result.cell.encoder), []).append(result)
    return groups
