"""Which images a cell uses, and every target of them looked at before any work starts."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache

from brittle.core import components, files, shared
from brittle.core.errors import CellError, UsageError
from brittle.core.progress import say
from brittle.core.records import Cell, Finding
from brittle.core.spec import parse
from brittle.core.traits import AttackTraits, DatasetTraits, ObjectiveTraits
from brittle.core.tree import Part, tree
from brittle.datasets.parts.walk import words
from brittle.evaluation import loading
from brittle.evaluation.subset import subset
from brittle.planning.identity import SPLITS, dataset_of, splits_of, task_of, whole
from brittle.planning.protocols import limit_of, subset_rule
from brittle.types import Encoder


def drawn(cell: Cell) -> tuple[int | None, str]:
    """How many test images a cell uses at most, None for all, and the rule by which they are drawn."""
    target = task_of(cell.task).target
    dense = target is not None and target.dense
    return limit_of(cell.protocol, cell.limit, dense), subset_rule(
        cell.protocol, "" if dense else cell.attack or "clean"
    )


@cache
def places(dataset: str, split: str, limit: int | None, rule: str) -> Sequence[int]:
    """The places of the images of a split that a limit leaves, drawn once in a process."""
    return subset(dataset_of(dataset, split), limit, rule)


@cache
def inspected(
    dataset: str, task: str, limit: int | None, rule: str, splits: Sequence[str] = SPLITS
) -> tuple[Finding, ...]:
    """Have every target of the images to be measured looked at, once in a process; what is odd in them.

    Args:
        splits: those that the number follows from, see ``splits_of``.
    """
    seen = loading.inspect_targets(dataset_of(dataset, "test"), places(dataset, "test", limit, rule), task_of(task))
    seen.require_some(f"{dataset} test")
    traits = components.component("datasets", parse(dataset).name).traits
    if not (isinstance(traits, DatasetTraits) and traits.own and seen.of_classes()):
        return tuple(seen.of_depth())
    for split in splits[:-1]:  # what the test images lack may be in the others
        data = dataset_of(dataset, split)
        seen.join(loading.inspect_targets(data, range(len(data)), task_of(task)))
    return (*seen.of_depth(), *seen.of_classes())


def look_at(cells: Iterable[Cell]) -> None:
    """Have every target that cells will use looked at, and every head that is read from a file put on its encoder,
    before any work starts. Targets of the training images are not looked at again while their data set stays as it is.

    Raises:
        UsageError: one is wrong, see ``inspect_targets``, or does not fit; or an objective needs more classes than
            there are. What cannot be read fails its own cells.
    """
    cells = list(cells)
    for attack, dataset, name in dict.fromkeys((cell.attack, cell.dataset, cell.task) for cell in cells):
        if attack:
            _require_classes(attack, dataset, name)
    used = list(dict.fromkeys((cell.dataset, cell.task, *drawn(cell), _splits(cell)) for cell in cells))
    parts = dict.fromkeys((dataset, split) for dataset, *_, splits in used for split in splits)
    for dataset, passed in dict.fromkeys((part[0], words(dataset_of(*part).passed_over)) for part in parts):
        if passed:
            say(f"{dataset}: passed over: {passed}")
    for dataset, task, limit, rule, splits in used:
        with suppress(CellError):
            inspected(dataset, task, limit, rule, splits)
            for split in splits[:-1]:
                _fitted_on(dataset, task, split)
    _try_heads(cells)


def of_cell(cell: Cell) -> tuple[Finding, ...]:
    """What is odd in the targets of a cell, see ``inspected``."""
    return inspected(cell.dataset, cell.task, *drawn(cell), _splits(cell))


def _splits(cell: Cell) -> tuple[str, ...]:
    return splits_of(task_of(cell.task), cell.encoder)


def _require_classes(attack: str, dataset: str, name: str) -> None:
    """Refuse an objective that was asked for where it needs more classes than there are."""
    for part in _asked_for(tree("attacks", attack)):
        for inner in part.parts:
            if isinstance(inner.traits, ObjectiveTraits) and inner.traits.fewest_classes:
                needed = inner.traits.fewest_classes(inner.spec.settings, bool(part.spec.settings.get("targets")))
                count = loading.classes_of(dataset_of(dataset, "test"), task_of(name).target)
                if count < needed:
                    what = f"{part.spec.name}: {inner.spec} needs {needed} classes, {dataset} has {count}"
                    raise UsageError(f"{what}; take another objective")


def _asked_for(part: Part) -> Iterator[Part]:
    """The attacks that a user has named; members that an ensemble gives itself are suited to the classes there are."""
    if isinstance(part.traits, AttackTraits):
        yield part
        for inner in () if part.traits.members else part.parts:
            yield from _asked_for(inner)


def _try_heads(cells: Iterable[Cell]) -> None:
    """Have every head that is read from a file put on its encoder; nothing is computed."""
    read = [cell for cell in cells if task_of(cell.task).head_sha256 and not whole(cell.encoder)]
    for text in dict.fromkeys(cell.encoder for cell in read):
        encoder = components.build("encoders", text)
        assert isinstance(encoder, Encoder)
        for dataset, name in dict.fromkeys((cell.dataset, cell.task) for cell in read if cell.encoder == text):
            task = task_of(name)
            task.head_read(encoder, loading.classes_of(dataset_of(dataset, "test"), task.target))


def _fitted_on(dataset: str, task: str, split: str) -> None:
    """Have every target that a head is fitted on or chosen by looked at."""
    data, kind = dataset_of(dataset, split), task_of(task).target
    if kind is None:
        return
    note = shared.folder("looked_at") / files.sha256(f"{data.fingerprint} {task} {data.classes}")
    if files.read_sealed(note) is None:
        loading.inspect_targets(data, range(len(data)), task_of(task)).require_some(f"{dataset} {split}")
        files.write_sealed(note, b"every target is as it should be")
    files.used(note)
