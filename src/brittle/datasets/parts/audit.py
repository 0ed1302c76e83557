"""A data set's defects, found by reading all of it; where to get it; and its download where torchvision or the hub has
a reader for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from brittle.core import components
from brittle.core.errors import BrittleError, MissingError, UsageError
from brittle.core.progress import progress
from brittle.core.spec import parse
from brittle.core.traits import DatasetTraits
from brittle.datasets.parts.listed import library
from brittle.types import Dataset, Sample
from brittle.types.target import DEPTH, VOID

SPLITS = ("train", "val", "test")


@dataclass
class Split:
    """What reading one split has shown; ``defects`` are lines that name a file and a remedy."""

    name: str
    images: int = 0
    unreadable: int = 0
    smallest: tuple[int, int] | None = None  # width, height
    largest: tuple[int, int] | None = None
    kinds: dict[str, "Kind"] = field(default_factory=dict[str, "Kind"])
    defects: list[str] = field(default_factory=list[str])

    def text(self) -> str:
        """A line on the split and one on each kind of target."""
        size = (
            "no images"
            if not (self.smallest and self.largest)
            else f"{_size(self.smallest)} to {_size(self.largest)} (width x height)"
        )
        bad = f", {self.unreadable} unreadable" if self.unreadable else ""
        head = f"{self.name:5} {self.images} images{bad}, {size}, {len(self.defects)} defects"
        return "\n".join([head, *(f"      {name}: {kind.text()}" for name, kind in self.kinds.items())])


@dataclass
class Kind:
    """Statistics of one kind of target: how often each class occurs, how many pixels, how many of them void, and the
    range of depth."""

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
            parts.append(f"{self.all_void} images with nothing but void")
        return "; ".join(parts) or "nothing"


def audit(text: str, limit: int | None = None) -> list[Split]:
    """Read every image and target of the data set of a spec, or the first ``limit`` of each split.

    Raises:
        MissingError: none of its splits is there.
        UsageError: the spec is invalid.
    """
    full = components.complete("datasets", text)
    reports: list[Split] = []
    missing: list[MissingError] = []
    owners: dict[str, str] = {}
    for name in SPLITS:
        report = Split(name)
        reports.append(report)
        try:
            data: Dataset = components.build("datasets", full, name)
        except MissingError as error:
            missing.append(error)
            report.defects.append(f"{name} split: {error}")
            continue
        except BrittleError as error:
            report.defects.append(f"{name} split: {error}")
            continue
        _read(data, report, limit)
        for image_id in data.ids:
            if image_id in owners:
                report.defects.append(f"{image_id}: is in {owners[image_id]} and again in {name}; remove one of them")
            owners[image_id] = name
    if len(missing) == len(SPLITS):
        raise missing[0]
    return reports


def _read(data: Dataset, report: Split, limit: int | None) -> None:
    """Read one split into its report."""
    report.images = len(data)
    report.kinds = {
        kind: Kind(names, torch.zeros(len(names), dtype=torch.long)) for kind, names in data.classes.items()
    }
    if not len(data):
        report.defects.append(f"{report.name} split: is empty; put images there or name another split")
    count = min(limit or len(data), len(data))
    with progress(f"reading {report.name}", count) as advance:
        for i in range(count):
            name = data.ids[i]
            try:
                _look(data.raw(i), data.clean, report, name)
            except BrittleError as error:
                report.unreadable += 1
                report.defects.append(str(error))
            advance(1)


def _look(sample: Sample, clean: Callable[[Sample], Sample], report: Split, name: str) -> None:
    """Count one sample and record what is wrong with it."""
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
            report.defects.append(
                f"{name}: image is {_size(size)} and {kind} {_size(other)}; bring them to one size or rotation"
            )
        if kind == DEPTH.name:
            odd = int((~target.isfinite()).sum()), int((target < 0).sum())
            for number, what in zip(odd, ("nan or inf", "negative")):
                if number:
                    report.defects.append(
                        f"{name}: {number} pixels of {kind} are {what} and count as void; write 0 there"
                    )
    valid = clean(sample)
    for kind, target in valid.targets.items():
        fault = _count(report.kinds[kind], target, kind == DEPTH.name)
        if fault is not None:
            classes = len(report.kinds[kind].names)
            report.defects.append(
                f"{name}: {kind} {fault} is none of the {classes} classes (0 to {classes - 1}); fix it or say classes="
            )


def _count(kind: Kind, target: Tensor, depth: bool) -> int | None:
    """Add one target to the statistics of its kind; returns the first class in it that does not exist."""
    if target.is_floating_point():
        valid = target[target > 0] if depth else target.flatten()
        void = target.numel() - valid.numel()
        if depth and valid.numel():
            kind.low, kind.high = min(kind.low, float(valid.min())), max(kind.high, float(valid.max()))
    else:
        valid = target[target != VOID] if target.dim() else target.reshape(1)
        void = target.numel() - valid.numel()
    if target.dim():
        kind.pixels, kind.void, kind.all_void = (
            kind.pixels + target.numel(),
            kind.void + void,
            kind.all_void + (not valid.numel()),
        )
    if not kind.names:
        return None
    inside = (valid >= 0) & (valid < len(kind.names))
    kind.counts += torch.bincount(valid[inside].flatten(), minlength=len(kind.names))
    return None if bool(inside.all()) else int(valid[~inside][0])


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def info(text: str) -> str:
    """Where to get the data set of a spec, its licence, the layout expected, and what its splits are; the
    data set itself need not be there."""
    name = parse(text).name
    traits = _traits(name)
    settings = components.settings_of(components.component("datasets", name).function)
    rows = {
        "what": components.summary("datasets", name),
        "source": traits.source,
        "licence": traits.licence,
        "layout": traits.layout,
        "protocol": traits.protocol,
        "settings": ", ".join(f"{key}={value!r}" for key, value in settings.items()) or "none",
    }
    if traits.download:
        rows["fetch"] = f"brittle data download {name}:DIR"
    return "\n".join(f"{key:9} {value}" for key, value in rows.items())


def _traits(name: str) -> DatasetTraits:
    traits = components.component("datasets", name).traits
    assert isinstance(traits, DatasetTraits)
    return traits


def download(text: str) -> Path:
    """Download a data set with torchvision's or the hub's own reader, which verify it; returns its folder.

    Raises:
        UsageError: there is no reader for it, or no folder is given.
        MissingError: it could not be downloaded.
    """
    full = components.complete("datasets", text)
    traits = _traits(full.name)
    by_hand = f"get it from {traits.source}"
    if traits.download is None:
        others = ", ".join(name for name in components.names("datasets") if _traits(name).download)
        raise UsageError(
            f"{full.name} cannot be fetched for you (readers exist for {others}); {by_hand}; layout: {traits.layout}"
        )
    if not full.argument:
        raise UsageError(f"{full.name}: say where to put it, brittle data download {full.name}:DIR")
    try:
        if callable(traits.download):
            return traits.download(full.argument, **full.settings)
        reader, settings = traits.download
        for options in settings:
            root = str(Path(full.argument).expanduser())
            getattr(library("torchvision.datasets"), reader)(root, download=True, **options)
    except (OSError, RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())[:120]
        raise MissingError(
            f"{full.name}: could not be fetched ({why}); {by_hand} yourself; layout: {traits.layout}"
        ) from None
    return Path(full.argument).expanduser()
