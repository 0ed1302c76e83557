"""What can be said of a data set by reading all of it, where to get one, and fetching it where a reader of torchvision or the hub can."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from brittle import spec
from brittle.datasets._labelled import library
from brittle.errors import BrittleError, MissingError, UsageError
from brittle.progress import progress
from brittle.protocol import VOID
from brittle.types import Dataset, Sample

SPLITS = ("train", "val", "test")


@dataclass
class Split:
    """What was found in one split; ``defects`` are lines that name a file and a remedy."""

    name: str
    pictures: int = 0
    unreadable: int = 0
    smallest: tuple[int, int] | None = None  # width, height
    largest: tuple[int, int] | None = None
    kinds: dict[str, "Kind"] = field(default_factory=dict[str, "Kind"])
    defects: list[str] = field(default_factory=list[str])

    def text(self) -> str:
        """A line on the split and one on each kind of target."""
        size = (
            "no pictures" if not (self.smallest and self.largest) else f"{_size(self.smallest)} to {_size(self.largest)} (width x height)"
        )
        bad = f", {self.unreadable} unreadable" if self.unreadable else ""
        head = f"{self.name:5} {self.pictures} pictures{bad}, {size}, {len(self.defects)} defects"
        return "\n".join([head, *(f"      {name}: {kind.text()}" for name, kind in self.kinds.items())])


@dataclass
class Kind:
    """What was found of one kind of target: how often each class, how many pixels, how many of them void, and the range of depth."""

    names: Sequence[str]
    counts: Tensor
    pixels: int = 0
    void: int = 0
    all_void: int = 0
    low: float = float("inf")
    high: float = 0.0

    def text(self) -> str:
        """One line."""
        parts: list[str] = []
        if self.names:
            absent = [name for name, count in zip(self.names, self.counts.tolist()) if not count]
            parts.append(f"{len(self.names) - len(absent)} of {len(self.names)} classes present")
            if absent:
                parts.append(f"absent: {', '.join(absent[:10])}{' ...' if len(absent) > 10 else ''}")
        elif self.high:
            parts.append(f"{self.low:.3f} to {self.high:.3f} m")
        if self.pixels:
            parts.append(f"{100 * self.void / self.pixels:.2f} % void")
        if self.all_void:
            parts.append(f"{self.all_void} pictures with nothing but void")
        return "; ".join(parts) or "nothing"


def check(text: str, limit: int | None = None) -> list[Split]:
    """Read every picture and target of the data set of a spec, or the first ``limit`` of each split.

    Raises:
        MissingError: nothing of it is there.
        UsageError: the spec makes no sense.
    """
    full = spec.complete("datasets", text)
    found: list[Split] = []
    missing: list[MissingError] = []
    owners: dict[str, str] = {}
    for name in SPLITS:
        report = Split(name)
        found.append(report)
        try:
            data: Dataset = spec.build("datasets", full, name)
        except MissingError as error:
            missing.append(error)
            report.defects.append(f"{name} split: {error}")
            continue
        except BrittleError as error:
            report.defects.append(f"{name} split: {error}")
            continue
        _read(data, report, limit)
        for each in data.ids:
            if each in owners:
                report.defects.append(f"{each}: is in {owners[each]} and again in {name}; take one of them away")
            owners[each] = name
    if len(missing) == len(SPLITS):
        raise missing[0]
    return found


def _read(data: Dataset, report: Split, limit: int | None) -> None:
    """Read one split into its report."""
    report.pictures = len(data)
    report.kinds = {kind: Kind(names, torch.zeros(len(names), dtype=torch.long)) for kind, names in data.classes.items()}
    if not len(data):
        report.defects.append(f"{report.name} split: is empty; put pictures there or name another split")
    raw, clean = getattr(data, "raw", data.__getitem__), getattr(data, "clean", _as_it_is)
    count = min(limit or len(data), len(data))
    with progress(f"reading {report.name}", count) as advance:
        for i in range(count):
            name = data.ids[i]
            try:
                _look(raw(i), clean, report, name)
            except BrittleError as error:
                report.unreadable += 1
                report.defects.append(str(error))
            advance(1)


def _as_it_is(sample: Sample) -> Sample:
    return sample


def _look(sample: Sample, clean: Callable[[Sample], Sample], report: Split, name: str) -> None:
    """Count one sample, and say what is wrong with it."""
    height, width = sample.image.shape[-2:]
    size = (int(width), int(height))
    area = size[0] * size[1]
    if report.smallest is None or area < report.smallest[0] * report.smallest[1]:
        report.smallest = size
    if report.largest is None or area > report.largest[0] * report.largest[1]:
        report.largest = size
    for kind, target in sample.targets.items():
        if target.dim() > 1 and target.shape[-2:] != sample.image.shape[-2:]:
            other = (int(target.shape[-1]), int(target.shape[-2]))
            report.defects.append(f"{name}: picture is {_size(size)} and {kind} {_size(other)}; bring them to one size or rotation")
        if target.is_floating_point():
            odd = int((~target.isfinite()).sum()), int((target < 0).sum())
            for number, what in zip(odd, ("nan or inf", "negative")):
                if number:
                    report.defects.append(f"{name}: {number} pixels of {kind} are {what} and count as void; write 0 there")
    valid = clean(sample)
    for kind, target in valid.targets.items():
        fault = _count(report.kinds[kind], target)
        if fault is not None:
            classes = len(report.kinds[kind].names)
            report.defects.append(f"{name}: {kind} {fault} is none of the {classes} classes (0 to {classes - 1}); mend it or say classes=")


def _count(kind: Kind, target: Tensor) -> int | None:
    """Add one target to what was found of its kind; the first class in it that there is not."""
    if target.is_floating_point():
        held = target[target > 0]
        void = target.numel() - held.numel()
        if held.numel():
            kind.low, kind.high = min(kind.low, float(held.min())), max(kind.high, float(held.max()))
    else:
        held = target[target != VOID] if target.dim() else target.reshape(1)
        void = target.numel() - held.numel()
    if target.dim():
        kind.pixels, kind.void, kind.all_void = kind.pixels + target.numel(), kind.void + void, kind.all_void + (not held.numel())
    if not kind.names:
        return None
    inside = (held >= 0) & (held < len(kind.names))
    kind.counts += torch.bincount(held[inside].flatten(), minlength=len(kind.names))
    return None if bool(inside.all()) else int(held[~inside][0])


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def info(text: str) -> str:
    """Where to get the data set of a spec, its licence, the layout expected, and what its splits are; nothing of it need be there."""
    name = spec.parse(text).name
    module = spec.module("datasets", name)
    rows = {
        "what": spec.summary("datasets", name),
        "source": module.SOURCE,
        "licence": module.LICENCE,
        "layout": module.LAYOUT,
        "protocol": module.PROTOCOL,
        "settings": ", ".join(f"{key}={value!r}" for key, value in _settings(name).items()) or "none",
    }
    if _fetches(name):
        rows["fetch"] = f"brittle data download {name}:DIR"
    return "\n".join(f"{key:9} {value}" for key, value in rows.items())


def _settings(name: str) -> dict[str, object]:
    parameters = inspect.signature(spec.component("datasets", name)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _fetches(name: str) -> bool:
    module = spec.module("datasets", name)
    return hasattr(module, "DOWNLOAD") or hasattr(module, "download")


def download(text: str) -> Path:
    """Fetch a data set through torchvision's or the hub's own reader, which check what arrives; where it is then.

    Raises:
        UsageError: there is no reader for it, or no folder is given.
        MissingError: it could not be fetched.
    """
    full = spec.complete("datasets", text)
    module = spec.module("datasets", full.name)
    if not _fetches(full.name):
        there = ", ".join(name for name in spec.names("datasets") if _fetches(name))
        raise UsageError(f"{full.name} cannot be fetched for you (there is {there}); get it from {module.SOURCE}; layout: {module.LAYOUT}")
    if not full.argument:
        raise UsageError(f"{full.name}: say where to put it, brittle data download {full.name}:DIR")
    try:
        if hasattr(module, "download"):
            return module.download(full.argument, **full.settings)
        reader, settings = module.DOWNLOAD
        for each in settings:
            getattr(library("torchvision.datasets"), reader)(str(Path(full.argument).expanduser()), download=True, **each)
    except (OSError, RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())[:120]
        raise MissingError(
            f"{full.name}: could not be fetched ({why}); get it from {module.SOURCE} yourself; layout: {module.LAYOUT}"
        ) from None
    return Path(full.argument).expanduser()
