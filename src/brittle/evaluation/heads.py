"""Heads fitted on frozen features, each fitted once and kept."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from brittle.attacks.parts.halving import join, split_on_oom
from brittle.core.errors import CellError
from brittle.core.progress import progress
from brittle.core.records import Finding
from brittle.evaluation import loading, probe, protocol
from brittle.evaluation.cache import digest, get_or_make, is_made, make_room, room, trim
from brittle.evaluation.disk import kept_of, size_of
from brittle.evaluation.machine import Machine
from brittle.evaluation.recomputed import Recomputed
from brittle.evaluation.sampler import Rows
from brittle.evaluation.views import views_of
from brittle.planning import identity
from brittle.planning.identity import Resolved
from brittle.types import FINAL, Batch, Dataset, Encoder, Features, LabelFree, Look
from brittle.types.model import stopped

FEATURES_VERSION = 1
LARGEST = torch.finfo(torch.float16).max
HEADS_VERSION = 1
SMALL = "pooled"  # the part that takes no room beside the other


def features(
    encoder: Encoder,
    weights: str,
    batches: Iterable[Batch],
    what: str,
    total: int,
    *,
    reads: Sequence[str] = Features._fields,
    look: Look = FINAL,
    beside: Collection[str] = (SMALL,),
    wait: bool = True,
) -> Iterator[tuple[Features, Tensor]]:
    """Frozen features (float16, on the CPU) and target of each batch, computed once for each (encoder, images): each
    part is kept by itself for whichever head reads it, and with those that are wanted what takes little room beside
    them, for other heads.

    Args:
        weights: sha256 that stands for the encoder.
        batches: images, or one after the other the windows that the same images are seen in.
        what, total: what to call it, and how many images there are.
        reads: the parts wanted; the width of any other is 0, so that a linear probe does not fill the disk with grids.
        look: which of the encoder's features.
        beside: the parts that are kept too, where the encoder has to be asked; by default the pooled one.
        wait: whether to wait for another process that is at the same batch.

    Raises:
        Busy: another is, and it is not to be waited for.
    """
    with progress(what, total) as advance:
        last: Sequence[str] = ()
        for batch in batches:
            key = {
                "version": FEATURES_VERSION,
                "weights": weights,
                "images": digest(batch.images),
                **({} if look == FINAL else {"look": look}),
            }

            @cache
            def seen(batch: Batch = batch) -> dict[str, Tensor]:
                return _seen(encoder, batch, {*reads, *beside}, look)

            stored = {name: _part(name, key, seen, wait) for name in reads}
            for name in set(beside) - set(reads) if seen.cache_info().currsize else ():
                with suppress(CellError):  # is raised for a head that reads it
                    _part(name, key, seen, wait)
            none = next(iter(stored.values()))
            advance(0 if batch.ids == last else len(batch.images))
            last = batch.ids
            yield Features(*(stored.get(name, none)[name] for name in Features._fields)), _held(batch.target)


def _part(name: str, key: Mapping[str, Any], seen: Callable[[], Mapping[str, Tensor]], wait: bool) -> dict[str, Tensor]:
    """One part of the features as it is stored, the other without width."""

    def make() -> dict[str, Tensor]:
        part = _half(seen()[name])
        make_room(part.nbytes)
        return {each: part if each == name else other[:, :0].half() for each, other in seen().items()}

    return get_or_make("features", {**key, "reads": [name]}, make, wait=wait)


def _half(part: Tensor) -> Tensor:
    """A part of the features in half precision, on the CPU.

    Raises:
        CellError: it is too large for that.
    """
    largest = part.abs().max().item() if part.numel() else 0.0
    if LARGEST < largest < math.inf:
        raise CellError(
            f"the encoder's features reach {largest:.3g}; heads read them up to {LARGEST:.0f}; scale them down"
        )
    return part.half().cpu()


def _seen(encoder: Encoder, batch: Batch, wanted: Collection[str], look: Look) -> dict[str, Tensor]:
    """The features of a batch, parts that are not wanted without width."""
    return split_on_oom(lambda part: _kept(encoder, part.images, wanted, look), join, batch)


@torch.no_grad()
def _kept(encoder: Encoder, images: Tensor, wanted: Collection[str], look: Look) -> dict[str, Tensor]:
    with stopped(images, encoder):
        parts = encoder.look(images.clone(), look)._asdict()  # it may write into its input
    return {name: part if name in wanted else part[:, :0] for name, part in parts.items()}


def _held(target: Tensor) -> Tensor:
    """A batch's target as it is held while a head is fitted: masks (in two bytes a pixel, or four) and maps on disk, as
    they would take as much memory as the features they belong to."""
    target = target.cpu()
    if target.dim() == 1:
        return target
    number = torch.int16 if target.is_floating_point() or target.max() < 2**15 else torch.int32
    small = target if target.is_floating_point() else target.to(number)
    return get_or_make("targets", {"version": FEATURES_VERSION, "target": digest(small)}, lambda: {"target": small})[
        "target"
    ]


def check_unchanged(resolved: Resolved, *splits: str) -> None:
    """Raise CellError where files of a split have changed since its fingerprint was taken, so that no number of other
    images stands under it."""
    for split in splits:
        if not identity.unchanged(resolved.cell.dataset, split):
            what = f"files of {resolved.cell.dataset} ({split} split) were changed while they were measured"
            raise CellError(f"{what}; leave them alone and run again")


def head(resolved: Resolved, encoder: Encoder, rule: protocol.Protocol, machine: Machine) -> nn.Module:
    """The head of a cell, fitted on the train split's frozen features and chosen on the val split's; fitted once and
    kept. A task without labels has one ready, and so has one whose head is read from a file.

    Raises:
        Busy: the machine is not alone, and another worker is fitting it or computing its features.
    """
    task, device, seed = resolved.task, machine.device, resolved.cell.seed
    if isinstance(task, LabelFree):
        return task.head_on(encoder).to(device)
    if task.head_sha256:
        return task.head_read(encoder, loading.classes_of(resolved.data("test"), task.target)).to(device)
    splits = {split: resolved.data(split) for split in ("train", rule.chosen_on)}
    outputs = loading.classes_of(splits["train"], task.target)
    width = rule.look.width(encoder.dim)
    fresh = probe.unfitted(task, width, outputs)

    def fit() -> dict[str, Tensor]:
        rows = _rows(resolved, encoder, rule, machine, splits)
        train, val = (rows[split] for split in splits)
        best = probe.fit(task, width, encoder.patch, outputs, train, val, seed=seed, device=device, recipe=rule.recipe)
        check_unchanged(resolved, *splits)
        trim()
        return best.state_dict()

    fresh.load_state_dict(get_or_make("heads", _key(resolved, rule), fit, wait=machine.alone), strict=True)
    return fresh.to(device)


def is_ready(resolved: Resolved, rule: protocol.Protocol) -> bool:
    """Whether nothing is left to fit of the head of a cell."""
    task = resolved.task
    ready = isinstance(task, LabelFree) or bool(task.head_sha256) or identity.whole(resolved.cell.encoder)
    return ready or is_made("heads", _key(resolved, rule))


def _key(resolved: Resolved, rule: protocol.Protocol) -> dict[str, Any]:
    return {
        "version": [HEADS_VERSION, FEATURES_VERSION, probe.VERSION],
        "weights": resolved.weights,
        "data": [resolved.data(split).fingerprint for split in ("train", rule.chosen_on)],
        "task": str(resolved.parts["tasks"].spec),
        "seed": resolved.cell.seed,
        "protocol": rule.to_dict(),
    }


def _rows(
    resolved: Resolved, encoder: Encoder, rule: protocol.Protocol, machine: Machine, splits: Mapping[str, Dataset]
) -> dict[str, Rows]:
    """Features and targets of splits, the smaller of which is the first to be kept on disk; what has no room there
    beside it is computed at each pass."""

    def computed(batch: Batch) -> Features:
        parts = _seen(encoder, batch, rule.reads, rule.look)
        return Features(**{name: _half(part) for name, part in parts.items()})

    rows: dict[str, Rows] = {}
    more = {split: rule.views if split == "train" else () for split in splits}
    sizes = {split: (1 + len(more[split])) * size_of(encoder, rule, data) for split, data in splits.items()}
    left = room()
    for split in sorted(splits, key=sizes.__getitem__):

        def seen(places: Sequence[int], split: str = split) -> Iterator[Batch]:
            for batch in loading.batches(splits[split], places, resolved.task, rule, machine):
                for view in views_of(batch, more[split], resolved.task):
                    yield from protocol.windows_of(view, rule)

        left -= sizes[split]
        if left < 0:
            rows[split] = Recomputed(splits[split].ids, seen, computed)
            continue
        parts, size = kept_of(encoder, rule, splits[split], 1 + len(more[split]))
        beside = {SMALL, *(parts if size - sizes[split] <= left else ())}
        left -= size - sizes[split] if len(beside) > 1 else 0
        what, count = f"features of {resolved.cell.encoder} on {split}", len(splits[split])
        weights = f"{resolved.weights}{f' {rule.red} {rule.pad}' if rule.changes_encoder else ''}"
        found = features(
            *(encoder, weights, seen(range(count)), what, count),
            reads=rule.reads,
            look=rule.look,
            beside=beside,
            wait=machine.alone,
        )
        rows[split] = list(found)
    return rows


def at_edge(head: object, recipe: probe.Recipe) -> list[Finding]:
    """A warning where the learning rate that a head was fitted with is the lowest or the highest of several tried."""
    rate, tried = float(getattr(head, "rate", 0.0)), sorted(recipe.rates)
    if len(tried) == 1 or rate not in (tried[0], tried[-1]):
        return []
    which = "lowest" if rate == tried[0] else "highest"
    why = (
        f"the head fits best at a learning rate of {rate:g}, the {which} of {', '.join(f'{each:g}' for each in tried)}"
    )
    return [Finding("head", "warn", rate, f"{why}; another may make the clean number better")]
