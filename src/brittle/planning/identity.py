"""A cell resolved: its specs, its task, its data and what stands for its weights, and the identity that follows of
them.

The identity is a hash over every value that can change a number, so a changed default, weight, image or version of a
component never takes up an old result.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

from brittle.core import components
from brittle.core.errors import UsageError
from brittle.core.records import Cell
from brittle.core.spec import Spec, parse
from brittle.core.traits import Ability, EncoderTraits, ModelTraits
from brittle.core.tree import Part, tree
from brittle.planning.protocols import attack_of, draws_of

if TYPE_CHECKING:
    from brittle.types import Dataset, Task

MEASURE_VERSION = 9
"""Raised whenever heads, protocol, scores, intervals or the loop of attacks change what any cell gives."""
SUBSET_VERSION = 1
"""Raised whenever a limit leaves other images."""
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Resolved:
    """A cell with everything that is known of it before it is measured.

    Args:
        precision: in which an attack runs the encoder, ``fp32`` or ``bf16``.
        weights: sha256 that stands for the encoder's weights and settings.
        parts: the trees of its specs by kind: ``encoders``, ``datasets``, ``tasks`` and, of an attacked cell,
            ``attacks``.
    """

    cell: Cell
    precision: str
    weights: str
    parts: Mapping[str, Part]

    @property
    def attack(self) -> Part | None:
        """The tree of the attack; None for the clean row."""
        return self.parts.get("attacks")

    @property
    def task(self) -> "Task":
        """The task."""
        return task_of(self.cell.task)

    def data(self, split: str) -> "Dataset":
        """One split of the data set."""
        return dataset_of(self.cell.dataset, split)

    def pinned(self) -> "Resolved":
        """Itself, with its identity taken now, so that whatever changes from here on is noticed."""
        _ = self.id
        return self

    @cached_property
    def id(self) -> str:
        """The identity, 20 hexadecimal digits."""
        attack = self.attack
        specs = {kind: str(part.spec) for kind, part in self.parts.items()}
        specs |= {"dataset": pathless(self.cell.dataset), "datasets": pathless(specs["datasets"])}
        content = {
            "cell": {**asdict(self.cell), **specs},
            "versions": [part.versions for part in self.parts.values()],
            "precision": self.precision if attack else "fp32",
            **({"draws": draws_of(self.cell.protocol)} if attack else {}),
            "attack_data": _fingerprint_of_stored(attack) if attack else "",
            **({"subset": SUBSET_VERSION} if self.cell.limit is not None else {}),
            **self._of_clean,
        }
        return _digest(content)

    @cached_property
    def basis(self) -> str:
        """What all numbers share that may stand in one row of a table, clean and attacked: encoder, data, task and the
        versions of whatever measures them; 20 hexadecimal digits."""
        shared = [self.parts[kind].versions for kind in ("encoders", "datasets", "tasks")]
        return _digest({"versions": shared, **self._of_clean})

    @cached_property
    def _of_clean(self) -> dict[str, object]:
        return {
            "measure": MEASURE_VERSION,
            "weights": self.weights,
            "data": [self._fingerprint(split) for split in splits_of(self.task, self.cell.encoder)],
            **({"head": self.task.head_sha256} if self.task.head_sha256 else {}),
        }

    def _fingerprint(self, split: str) -> str:
        _state(self.cell.dataset, split)  # before its fingerprint, so that no change falls between the two
        return self.data(split).fingerprint


def pathless(dataset: str) -> str:
    """A data set's spec without the place where it lies: what is there is what its fingerprint says."""
    spec = parse(dataset)
    return str(Spec(spec.name, "", spec.settings))


def _digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def resolve(cell: Cell, precision: str = "fp32", weights: str = "") -> Resolved:
    """Everything that follows of a cell's texts, and of its weights and data as they are now.

    Args:
        weights: what ``weights_of`` said of its encoder; looked at again where empty.
    """
    attack = attack_of(cell.protocol, cell.attack) if cell.attack else None
    texts = {"encoders": cell.encoder, "datasets": cell.dataset, "tasks": cell.task, "attacks": attack}
    parts = {kind: tree(kind, text) for kind, text in texts.items() if text}
    return Resolved(cell, precision, weights or weights_of(cell.encoder), parts)


@cache
def dataset_of(text: str, split: str) -> "Dataset":
    """The data set of a spec, one split, made once."""
    return components.build("datasets", text, split)


def unchanged(text: str, split: str) -> bool:
    """Whether the files of a split are what they were when its fingerprint was taken in this process, by size and time
    of each."""
    return _state(text, split) == _state_now(text, split)


@cache
def _state(text: str, split: str) -> str:
    return _state_now(text, split)


def _state_now(text: str, split: str) -> str:
    digest = hashlib.sha256()
    for path in dataset_of(text, split).paths():
        try:
            stat = path.stat()
            digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}\n".encode(errors="surrogatepass"))
        except OSError:
            digest.update(f"{path} absent\n".encode(errors="surrogatepass"))
    return digest.hexdigest()


@cache
def task_of(text: str) -> "Task":
    """The task of a spec, made once."""
    return components.build("tasks", text)


def splits_of(task: "Task", encoder: str) -> tuple[str, ...]:
    """The splits of a data set that a number of a task on an encoder follows from, that which is measured last: it
    alone where no head is fitted, as it is read from a file or a part of a whole network."""
    return ("test",) if task.head_sha256 or whole(encoder) else SPLITS


def traits_of(encoder: str) -> tuple[EncoderTraits, Spec]:
    """The traits of a way in, for encoders or whole networks, and the complete spec to call what is in them with."""
    kind, full = components.meant("encoders", components.complete("encoders", encoder))
    traits = components.component(kind, full.name).traits
    if not isinstance(traits, EncoderTraits):
        raise UsageError(f"{kind}/{full.name}.py has no TRAITS; say EncoderTraits(fingerprint=...)")
    return traits, full


def weights_of(encoder: str) -> str:
    """sha256 that stands for an encoder's weights and settings, without building the network."""
    traits, full = traits_of(encoder)
    return components.call(traits.fingerprint, full)


@cache
def whole(encoder: str) -> bool:
    """Whether the spec of an encoder stands for a whole network, which needs no head."""
    return isinstance(traits_of(encoder)[0], ModelTraits)


@cache
def predicts(encoder: str) -> frozenset[Ability]:
    """The abilities of the task that a whole network is for."""
    traits, full = traits_of(encoder)
    assert isinstance(traits, ModelTraits), encoder
    return frozenset(components.call(traits.predicts, full))


@cache
def has_features(encoder: str) -> bool:
    """Whether an attack on the encoder alone has something to follow: of a whole network, a module that is known."""
    traits, full = traits_of(encoder)
    return not isinstance(traits, ModelTraits) or bool(components.call(traits.features, full))


def _fingerprint_of_stored(attack: Part) -> str:
    stored = attack.attack_traits.stored
    return stored.fingerprint(attack.spec.argument) if stored else ""
