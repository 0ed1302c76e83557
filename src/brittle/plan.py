"""What is to be measured, as plain data: cells, their identity, their results, and the grid that a plan stands for. No torch here."""

import hashlib
import inspect
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
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


def lacking(plan: Plan) -> dict[str, str]:
    """Encoder and data set specs of a plan whose files are not there, each with what was looked for and where to get it."""
    found: dict[str, str] = {}
    for kind, texts in (("encoders", plan.encoders), ("datasets", plan.datasets)):
        for text in texts:
            try:
                for one in expanded(text, kind) if kind == "encoders" else ():
                    weights_of(one)
                if kind == "datasets":
                    dataset_of(short(kind, text), "test")
            except MissingError as error:
                source = next((source for name, source in plan.sources.items() if name in text), "")
                found[text] = f"{error}{f'; get it from {source}' if source else ''}"
    return found


def grid(plan: Plan) -> tuple[list[Cell], list[str]]:
    """The cells of a plan, clean ones first for each task, and a line for each pair left out because it does not fit or is not there.

    Raises:
        UsageError: a spec, a setting or eps that makes no sense, or a plan that leaves nothing.
        MissingError: nothing is left because data or weights are not there.
    """
    sizes = sorted({check_eps(value, plan.norm) for value in plan.eps})
    missing = lacking(plan)
    there = [text for text in plan.encoders if text not in missing]
    encoders = list(dict.fromkeys(short("encoders", one) for text in there for one in expanded(text, "encoders")))
    datasets = [short("datasets", text) for text in plan.datasets if text not in missing]
    attacks = [
        text if text == "downstream" else short("attacks", one)
        for text in plan.attacks
        if text != "clean"
        for one in ([text] if text == "downstream" else expanded(text, "attacks"))
    ]
    tasks = [short("tasks", text) for text in plan.tasks] or [name for name in spec.names("tasks") if task_of(name).target]
    cells: list[Cell] = []
    notes = [f"missing {text}: {why}" for text, why in missing.items()]
    for dataset in datasets:
        kinds = dataset_of(dataset, "test").classes
        for task in tasks:
            made = task_of(task)
            if made.target and made.target not in kinds:
                if plan.tasks:
                    notes.append(f"left out {task} on {dataset}: it has no {made.target}, only {', '.join(kinds)}")
                continue
            chosen = list(dict.fromkeys(short("attacks", made.attack) if text == "downstream" else text for text in attacks))
            for text in [text for text in chosen if not fits(text, made.name)]:
                notes.append(f"left out {text} on {task}: it is for {', '.join(_only(text) or ())}")
                chosen.remove(text)
            for encoder in encoders:
                for seed in plan.seeds:
                    shared = (seed, plan.limit, plan.protocol)
                    cells.append(Cell(encoder, dataset, task, None, None, None, *shared))
                    for text in chosen:
                        cells += [Cell(encoder, dataset, task, *budget, *shared) for budget in _budgets(text, sizes, plan.norm)]
    if attacks and cells and not any(cell.attack for cell in cells):
        raise UsageError(f"no attack of the plan is left: {'; '.join(notes)}")
    if not cells and missing:
        raise MissingError("; ".join(missing.values()))
    if not cells:
        raise UsageError(f"the plan leaves nothing to measure: {'; '.join(notes) or 'no task fits'}")
    cells.sort(key=lambda cell: (encoders.index(cell.encoder), datasets.index(cell.dataset), cell.seed))  # stable: load each encoder once
    return list(dict.fromkeys(cells)), notes


def expanded(text: str, kind: str) -> list[str]:
    """The components that one spec stands for: a folder of checkpoints gives an encoder for each. A component's ``expand`` says which."""
    parsed = spec.parse(text)
    expand = getattr(spec.module(kind, parsed.name), "expand", None)
    arguments = expand(parsed.argument) if expand else [parsed.argument]
    return [str(spec.Spec(parsed.name, argument, parsed.settings)) for argument in arguments]


def _budgets(attack: str, sizes: Sequence[float], norm: str) -> list[tuple[str, float, str]]:
    """Attack, eps and norm of each cell of an attack; of one that is on disk, those that it was made with."""
    parsed = spec.parse(attack)
    module = spec.module("attacks", parsed.name)
    if hasattr(module, "about"):
        made = module.about(parsed.argument)
        return [(attack, float(made["eps"]), str(made["norm"]))]
    return [(warmed(attack, [each for each in sizes if 0 < each < eps]), eps, norm) for eps in sizes]


def warmed(attack: str, smaller: Sequence[float]) -> str:
    """An attack that goes on from what it found with smaller budgets; itself where there are none, where it learns from
    other pictures (``learn``), or looks at no head (``HEADLESS``) that could say which start is the better one."""
    module = spec.module("attacks", spec.parse(attack).name)
    if not smaller or any(getattr(module, word, False) for word in ("HEADLESS", "learn")):
        return attack
    return short("attacks", str(spec.Spec("warm", "", {"attack": attack, "eps": list(smaller)})))


def bare(attack: str) -> str:
    """An attack without its warm start; only read, so that a report imports no attack."""
    parsed = spec.parse(attack)
    return str(parsed.settings.get("attack", "pgd")) if parsed.name == "warm" else attack


def before(cell: Cell) -> Cell | None:
    """The cell of the next smaller budget, whose images this one goes on from; None where it begins afresh."""
    full = spec.complete("attacks", cell.attack) if cell.attack else None
    if full is None or full.name != "warm":
        return None
    *rest, last = full.settings["eps"]  # type: ignore[misc]
    return replace(cell, attack=warmed(short("attacks", bare(str(full))), [float(each) for each in rest]), eps=float(last))  # type: ignore[arg-type]


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


def _only(attack: str) -> tuple[str, ...] | None:
    """The tasks an attack is for, by its own word and those of what its settings name; None for all.

    Raises:
        UsageError: inside it is an attack that has to learn from training pictures first.
    """
    full = spec.complete("attacks", attack)
    inner = [(spec.kind_of(key), text) for key, value in full.settings.items() for text in spec.nested(key, value)]
    for name in [spec.parse(text).name for kind, text in inner if kind == "attacks"]:
        if hasattr(spec.module("attacks", name), "learn"):
            raise UsageError(f"{attack}: {name} learns from training pictures before it attacks; run it by itself, with -a {name}")
    said = [getattr(spec.module("attacks", full.name), "TASKS", None)]
    said += [_only(text) if kind == "attacks" else getattr(spec.module(kind, spec.parse(text).name), "TASKS", None) for kind, text in inner]
    words = [set(tasks) for tasks in said if tasks is not None]
    return tuple(sorted(set.intersection(*words))) if words else None


def fits(attack: str, task: str) -> bool:
    """Whether an attack makes sense on a task."""
    only = _only(attack)
    return only is None or task in only


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
