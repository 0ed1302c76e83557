"""What fitting the heads of a plan takes, told before it starts: features on disk, and steps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from brittle.core.errors import BrittleError
from brittle.core.records import Cell
from brittle.evaluation.cache import free, most, room
from brittle.evaluation.paper import protocol_on
from brittle.evaluation.protocol import Protocol, resized_to
from brittle.planning.identity import dataset_of, task_of, weights_of, whole
from brittle.types import Dataset, Encoder, Features, LabelFree, windows

LOOKED_AT = 16  # images of a split, evenly, whose sizes stand for all
HALF = 2  # bytes of a value
LITTLE = 2**28  # bytes of all features of a split, up to which they are all kept as soon as some are wanted


@dataclass(frozen=True)
class Need:
    """What one head takes: ``images`` it is fitted on, ``size`` of the features in bytes, at most so many ``steps`` for
    each learning rate."""

    images: int
    size: int
    steps: int


def needs_of(cells: Iterable[Cell], device: str) -> tuple[list[Need], list[str]]:
    """What the heads of cells take, one for each encoder, data set, task, seed and protocol; and in words, once for
    each reason, where that cannot be told. Features that several heads read count once."""
    from brittle.evaluation.measure import encoder_of

    fits = dict.fromkeys((cell.encoder, cell.dataset, cell.task, cell.protocol, cell.seed) for cell in cells)
    needs: list[Need] = []
    unknown: dict[str, str] = {}
    seen: set[object] = set()
    for encoder, dataset, task, protocol, _seed in fits:
        try:
            if isinstance(task_of(task), LabelFree) or task_of(task).head_sha256 or whole(encoder):
                continue
            network = encoder_of(encoder, device, weights_of(encoder))
            assert isinstance(network, Encoder)
            rule = protocol_on(protocol, dataset, task_of(task), network)
            splits = [dataset_of(dataset, split) for split in ("train", rule.chosen_on)]
            views = 1 + len(rule.views)
            sizes = [kept_of(network, rule, splits[0], views), kept_of(network, rule, splits[1])]
            grid = any("grid" in parts for parts, _ in sizes)
            features = (encoder, dataset, rule.look, grid, rule.window, rule.resize, tuple(rule.views))
            size = 0 if features in seen else sum(each for _, each in sizes)
            seen.add(features)
            count = views * len(splits[0])
            needs.append(Need(count, size, rule.recipe.total(count)))
        except BrittleError as error:
            unknown.setdefault(str(error), f"{encoder} on {dataset}")
        except Exception as error:  # noqa: BLE001 - of an encoder or a reader that others wrote; its cells will say so
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            unknown.setdefault(why, f"{encoder} on {dataset}")
    return needs, [f"{which}: {why}" for why, which in unknown.items()]


def said(needs: Sequence[Need], unknown: Sequence[str] = ()) -> str:
    """One line for people."""
    size, steps = sum(need.size for need in needs), sum(need.steps for need in needs)
    largest = max((need.size for need in needs), default=0)
    lacking = (
        f"; the largest head's {gigabytes(largest)} have no room and are computed at each pass"
        if largest > room()
        else ""
    )
    heads = f"{len(needs)} head{'' if len(needs) == 1 else 's'}"
    return (
        f"{heads}, at most {steps:,} steps for each learning rate; features take {gigabytes(size)} on disk, of which "
        f"at most {gigabytes(most())} are kept; {gigabytes(free())} are free{lacking}"
        f"{''.join(f'; without {each}' for each in unknown)}"
    )


def gigabytes(size: float) -> str:
    """Such as ``0.4 GB``, or ``3 MB`` or ``7 kB`` where that would be ``0``."""
    if size < 5e5:
        return f"{size / 1e3:,.0f} kB"
    if size < 5e7:
        return f"{size / 1e6:,.0f} MB"
    return f"{size / 1e9:,.1f} GB" if size < 1e11 else f"{size / 1e9:,.0f} GB"


def kept_of(encoder: Encoder, rule: Protocol, data: Dataset, views: int = 1) -> tuple[Sequence[str], int]:
    """Which parts of the features of one split are kept as soon as a head reads those of its rule, all of them where
    they take little, and their bytes."""
    whole = views * size_of(encoder, replace(rule, reads=Features._fields), data)
    if whole <= LITTLE:
        return Features._fields, whole
    return rule.reads, views * size_of(encoder, rule, data)


def size_of(encoder: Encoder, rule: Protocol, data: Dataset) -> int:
    """Bytes of the features of one split that a head reads, by the sizes of some of its images."""
    width = rule.look.width(encoder.dim) * HALF
    if "grid" not in rule.reads:
        return len(data) * width
    every = range(0, len(data), max(len(data) // LOOKED_AT, 1))
    cells = [cells_of(encoder, rule, data[place].image.shape[-2:]) for place in every]
    return round(len(data) * width * sum(cells) / max(len(cells), 1))


def cells_of(encoder: Encoder, rule: Protocol, size: Sequence[int]) -> int:
    """How many cells the grids of an image of (H, W) ``size`` have, those of all its windows."""
    height, width = (rule.size, rule.size) if rule.crop else resized_to(size, rule)
    places = [(slice(0, height), slice(0, width))]
    if 0 < rule.window < max(height, width):
        places = windows.places(height, width, rule.window, rule.stride)
    edges = [(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in places]
    return sum(-(-rows // encoder.patch) * -(-columns // encoder.patch) for rows, columns in edges)
