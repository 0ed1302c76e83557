"""Which output of a network stands for which class of a data set."""

import re
from collections.abc import Sequence
from functools import lru_cache

from brittle.core.errors import UsageError
from brittle.types import Network

IMAGENET = 1000
REMEDY = "say which output each class is with classes=[...], or which the first one is with first=1"


def outputs_of(network: Network, names: Sequence[str], dataset: str) -> tuple[int, ...]:
    """The output of each of a data set's classes; nothing where the outputs are the classes in their order.

    By what the user says; else by names, where those of both are known, each class's own or a synonym (ImageNet's by
    synset as well); else, where there are as many of both, by number.

    Raises:
        UsageError: they do not fit.
    """
    count = len(network.classes)
    if network.order:
        _require(network, names, network.order, dataset)
        return network.order
    if network.first >= 0:
        outputs = tuple(range(network.first, network.first + len(names)))
        _require(network, names, outputs, dataset)
        return outputs
    if not count:
        return ()
    found = _by_name(network.classes, names)
    lacking = [name for name, places in zip(names, found) if len(places) != 1]
    if not lacking:
        outputs = tuple(places[0] for places in found)
        return () if outputs == tuple(range(count)) else outputs
    alike = sum(place in places for place, places in enumerate(found))
    if count == len(names) and (2 * alike >= count or not any(found)):
        return ()  # the same classes under other names
    what = f"its {count} outputs and the {len(names)} classes of {dataset}"
    raise UsageError(f"{network.label}: {what} do not match by name ({', '.join(lacking[:3])[:80]}); {REMEDY}")


def by_number(network: Network, names: Sequence[str]) -> str:
    """What to say where outputs are taken for a data set's classes by their numbers alone; empty where names agree, or
    the user says which is which."""
    if network.order or network.first >= 0:
        return ""
    if not network.classes:
        return "classes by number, as the network names none"
    alike = sum(place in places for place, places in enumerate(_by_name(network.classes, names)))
    unlike = len(network.classes) == len(names) and outputs_of(network, names, "") == () and alike < len(names)
    return f"classes by number, as {alike} of {len(names)} have the same name" if unlike else ""


def _require(network: Network, names: Sequence[str], outputs: Sequence[int], dataset: str) -> None:
    count = len(network.classes)
    if len(outputs) != len(names):
        raise UsageError(f"{network.label}: classes={list(outputs)[:8]} are {len(outputs)}, {dataset} has {len(names)}")
    wrong = [each for each in outputs if each < 0 or (count and each >= count)]
    if wrong:
        raise UsageError(f"{network.label}: there is no output {wrong[0]}; it has outputs 0 to {count - 1}")


def _by_name(classes: Sequence[str], names: Sequence[str]) -> list[list[int]]:
    """The outputs that each name may stand for: those whose own name it is, or else one of whose synonyms."""
    exact: dict[str, list[int]] = {}
    loose: dict[str, list[int]] = {}
    for place, text in enumerate(classes):
        exact.setdefault(_plain(text), []).append(place)
        for word in dict.fromkeys(_words(text)):
            loose.setdefault(word, []).append(place)
    found: list[list[int]] = []
    for name in names:
        same = exact.get(_plain(name))
        found.append(same or sorted({place for word in _words(name) for place in loose.get(word, [])}))
    return found


def _plain(text: str) -> str:
    return re.sub(r"[\s_\-]+", " ", text).strip().lower()


def _words(text: str) -> list[str]:
    return [word for word in map(_plain, re.split(r"[,;]", text)) if word]


@lru_cache(maxsize=1)
def imagenet() -> tuple[str, ...]:
    """ImageNet's 1,000 classes in their order: synset, then the names of each."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return tuple(f"{name}, {info.label_name_to_description(name)}" for name in info.label_names())


def with_synsets(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of classes with their synsets where they are ImageNet's; nothing of names that are numbers alone."""
    if all(re.fullmatch(r"(LABEL_)?\d+", name) for name in classes):
        return imagenet() if len(classes) == IMAGENET else ()
    if len(classes) != IMAGENET:
        return tuple(classes)
    return tuple(f"{name}, {own}" for own, name in zip(classes, (text.partition(",")[0] for text in imagenet())))
