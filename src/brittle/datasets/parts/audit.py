"""A data set's defects, found by reading all of it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import PIL
import torch
from torch import Tensor

from brittle.core import components, files, shared
from brittle.core.errors import BrittleError, MissingError
from brittle.core.progress import progress
from brittle.datasets.parts.publisher import traits_of
from brittle.datasets.parts.walk import words
from brittle.planning.identity import task_of
from brittle.types import Dataset, Sample
from brittle.types.seen import Seen, nameless
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
    passed: Mapping[str, int] = field(default_factory=dict[str, int])
    copies: Counter[str] = field(default_factory=Counter[str])

    def text(self) -> str:
        """A line on the split, one on what was passed over and on copies, and one on each kind of target."""
        size = (
            "no images"
            if not (self.smallest and self.largest)
            else f"{_size(self.smallest)} to {_size(self.largest)} (width x height)"
        )
        bad = f", {self.unreadable} unreadable" if self.unreadable else ""
        head = f"{self.name:5} {self.images} images{bad}, {size}, {len(self.defects)} defects"
        more = [f"      passed over: {words(self.passed)}"] if words(self.passed) else []
        more += [f"      {count} images are copies of others in {split}" for split, count in self.copies.items()]
        return "\n".join([head, *more, *(f"      {name}: {kind.text()}" for name, kind in self.kinds.items())])


@dataclass
class Kind:
    """Statistics of one kind of target: how often each class occurs, how many pixels, how many of them void, and the
    range of depth, as the task of depth scores it."""

    names: Sequence[str]
    counts: Tensor
    depth: Seen
    pixels: int = 0
    void: int = 0
    all_void: int = 0

    def text(self) -> str:
        """One line."""
        parts: list[str] = []
        if self.names:
            absent = [name for name, count in zip(self.names, self.counts.tolist()) if not count]
            parts.append(f"{len(self.names) - len(absent)} of {len(self.names)} classes present")
            if absent:
                parts.append(f"absent: {', '.join(absent[:10])}{' ...' if len(absent) > 10 else ''}")
        elif self.depth.high:
            parts.append(f"{self.depth.low:.3f} to {self.depth.high:.3f} m")
        if self.pixels:
            parts.append(f"{100 * self.void / self.pixels:.2f} % void")
        if self.all_void:
            parts.append(f"{self.all_void} images with nothing but void")
        parts += [f"{finding.verdict}: {finding.why}" for finding in self.depth.of_depth()]
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
    seen: dict[bytes, str] = {}
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
        _read(data, report, limit, seen)
        for image_id in data.ids:
            if image_id in owners:
                report.defects.append(f"{image_id}: is in {owners[image_id]} and again in {name}; remove one of them")
            owners[image_id] = name
    if len(missing) == len(SPLITS):
        raise missing[0]
    if limit is None:
        reports[-1].defects += _classes(reports, traits_of(full.name).own)
    return reports


def _classes(reports: Sequence[Split], own: bool) -> list[str]:
    """What is wrong with the classes of all splits together."""
    found: list[str] = []
    for kind in dict.fromkeys(kind for split in reports for kind in split.kinds):
        parts = [split.kinds[kind] for split in reports if kind in split.kinds]
        names = parts[0].names
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            found.append(f"{kind}: {len(twice)} names are those of several classes, such as {twice[0]!r}; rename one")
        if own and names and all(part.counts.numel() == len(names) for part in parts):
            present = torch.stack([part.counts for part in parts]).sum(0) > 0
            found += [f"{kind}: {why}" for why in nameless(names, present, sum(part.void for part in parts))]
    return found


def _read(data: Dataset, report: Split, limit: int | None, seen: dict[bytes, str]) -> None:
    """Read one split into its report; ``seen`` has the split of each image read so far, by its pixels."""
    report.images, report.passed = len(data), data.passed_over
    report.kinds = {
        kind: Kind(names, torch.zeros(len(names), dtype=torch.long), Seen(task_of(DEPTH.name), ()))
        for kind, names in data.classes.items()
    }
    if not len(data):
        report.defects.append(f"{report.name} split: is empty; put images there or name another split")
    count = min(limit or len(data), len(data))
    whole = hashlib.sha256()
    with progress(f"reading {report.name}", count) as advance:
        for i in range(count):
            name = data.ids[i]
            try:
                sample = data.raw(i)
                whole.update(_digest(sample.image, *sample.targets.values()))
                copy = seen.setdefault(_digest(sample.image), report.name + f"\0{name}").partition("\0")
                if copy[2] != name:
                    report.copies[copy[0]] += 1
                _look(sample, data.clean, report, name)
            except BrittleError as error:
                whole.update(b"unreadable")
                report.unreadable += 1
                report.defects.append(str(error))
            advance(1)
    if count == len(data):
        report.defects += _changed(data, report.name, whole.hexdigest())


def _digest(*tensors: Tensor) -> bytes:
    """16 bytes that stand for types, shapes and values."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()[:16]


def _changed(data: Dataset, split: str, content: str) -> list[str]:
    """A line where the content of a split is not what it was when a data set of the same fingerprint was first checked:
    the fingerprint covers names, labels, sizes and times, which a file that is swapped may have in common."""
    note = shared.folder("checked") / files.sha256(f"{data.fingerprint} {PIL.__version__}".encode())
    before = files.read_sealed(note)
    if before is None:
        files.write_sealed(note, content.encode())
    if before in (None, content.encode()):
        return []
    what = f"{split} split: its content changed since it was first checked, but no file's name, size or time did"
    return [f"{what}; results of it are of both; touch what changed (or delete {note}) and measure again"]


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
    if depth:
        kind.depth.add(target)
        valid = target[target > 0]
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
