"""What can be known of a component without calling it: the record that its module calls ``TRAITS``."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from brittle.core.spec import Value

Ability = Literal["classes", "metres", "per_image", "per_pixel"]
"""What a task's predictions are: scores of classes, or depth in metres; one an image, or one a pixel."""
Sees = Literal["head", "encoder", "nothing"]
"""What of a model an attack or an objective follows: head and encoder, the encoder alone, or neither."""
Settings = Mapping[str, Value]
"""Every setting of a completed spec."""


class Passes(NamedTuple):
    """How often an image goes through the encoder, at most: ``forwards`` and ``backwards``."""

    forwards: int
    backwards: int


def always(forwards: int, backwards: int = 0) -> Callable[..., Passes]:
    """The passes of an attack that needs the same ones whatever its settings are."""

    def passes(**_settings: object) -> Passes:
        return Passes(forwards, backwards)

    return passes


def nothing_less(**_settings: object) -> None:
    """Whatever the settings: no fewer passes than it takes at most."""


def never(**_settings: object) -> bool:
    """Whatever its settings are, not."""
    return False


def nothing(_attack: str) -> Sequence[str]:
    """Whatever the attack is, none."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Traits:
    """Of any component.

    Args:
        version: raised whenever it computes something else, so that results of the old version are never mixed with new
            ones.
        needs: abilities that a task must have (``Task.abilities``).
        names: the kind of component that its argument is a spec of, with its settings: everything is asked of that.
    """

    version: int = 1
    needs: Sequence[Ability] = ()
    names: str = ""


@dataclass(frozen=True, kw_only=True)
class ObjectiveTraits(Traits):
    """Of an objective.

    Args:
        sees: what of a model it follows.
        reads: its settings to whether it follows those features that the head reads, so that its images serve the
            heads that read the same.
        aimed: it climbs towards classes of the attacker's choice, so that being wrong is not enough.
        aims: its settings to the classes that it climbs towards by their numbers.
        fewest_classes: (its settings, whether the attack aims at classes) to how many classes it needs.
    """

    sees: Sees = "head"
    reads: Callable[[Settings], bool] | None = None
    aimed: bool = False
    aims: Callable[[Settings], Sequence[int]] | None = None
    fewest_classes: Callable[[Settings, bool], int] | None = None


class StoredImages(NamedTuple):
    """Of an attack whose images were made before: ``expand`` gives the sets that an argument stands for,
    ``fingerprint`` what stands for their content, ``about`` the cell they were made for."""

    expand: Callable[[str], list[str]]
    fingerprint: Callable[[str], str]
    about: Callable[[str], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class AttackTraits(Traits):
    """Of an attack.

    Args:
        sees: what of a model it follows; None for what its objective and its members follow, the head where it has
            neither.
        objective: spec of the objective it climbs, or its settings, as keywords, to that, where no setting names one.
        members: its settings, as keywords, to the specs of the attacks that it runs, beside those that its settings
            name.
        picks: among images it picks by the score of the head, so that they belong to that head.
        by_score: its settings, as keywords, to whether it keeps the iterate that the head scores worst, so that its
            images belong to that head as well.
        whole_set: which member's image counts is picked over the whole data set, not image by image.
        follows: the score of every iterate is written down.
        learns: (model, batches of training images, threat, rng, its settings) to a perturbation [3,H,W] for all
            images, learnt before anything is attacked, from as many images as its setting ``pictures`` says.
        stored: where its images were made before.
        passes: its settings, as keywords, to the passes of its own, without those of its members.
        fewest: the same at least, where it follows the head and may be over with an image that has succeeded; None
            where it never is.
    """

    sees: Sees | None = None
    objective: str | Callable[..., str] = ""
    members: Callable[..., Sequence[str]] | None = None
    picks: bool = False
    by_score: Callable[..., bool] = never
    whole_set: bool = False
    follows: bool = False
    learns: Callable[..., Any] | None = None
    stored: StoredImages | None = None
    passes: Callable[..., Passes] = always(0)
    fewest: Callable[..., Passes | None] = nothing_less


@dataclass(frozen=True, kw_only=True)
class CheckTraits(Traits):
    """Of a check.

    Args:
        evidence: what it costs: ``fast``, or ``full`` where that is as much as the number itself.
        tries: the spec of the number's attack to those of the attacks that it runs.
        on: how many images of the sample it runs them on, at most; None for all.
    """

    evidence: Literal["fast", "full"] = "fast"
    tries: Callable[[str], Sequence[str]] = nothing
    on: int | None = None


@dataclass(frozen=True, kw_only=True)
class EncoderTraits(Traits):
    """Of a way in for encoders; each function takes the spec's argument (where there is one) and its settings.

    Args:
        fingerprint: what stands for the weights and every setting that changes features, without building the network.
        validate: refuses, before any work starts, what building it would refuse.
        expand: the arguments that one argument stands for, such as the checkpoints of a folder.
        claims: whether a text without this component's name in front, such as a model's name or a file's path, is one
            of its arguments; so that a user is told.
        foreign: what it would run or fetch that only a user may ask for, not a card beside weights; empty for nothing.
    """

    fingerprint: Callable[..., str]
    validate: Callable[..., None] | None = None
    expand: Callable[[str], list[str]] | None = None
    claims: Callable[[str], bool] | None = None
    foreign: Callable[..., str] | None = None


@dataclass(frozen=True, kw_only=True)
class ModelTraits(EncoderTraits):
    """Of a way in for whole networks, as of one for encoders; ``validate`` also tries whether gradients pass.

    Args:
        predicts: the abilities of the one task that it is for, without building the network.
        features: the module that its encoder's features are taken from, empty where none is known.
    """

    predicts: Callable[..., Collection[Ability]]
    features: Callable[..., str]


@dataclass(frozen=True, kw_only=True)
class DatasetTraits(Traits):
    """Of a data set.

    Args:
        licence, source, layout, protocol: what ``brittle data info`` says of it.
        rules: by kind of target, how the standard protocol is changed: ``resize``, ``valid``, and ``whole`` for no
            windows; and ``background``, the class that the paper's protocol leaves out.
        download: (folder, settings as keywords) fetches it and says where it is; or torchvision's class and the
            arguments of each call.
        small: settings that it is given in a run of few test images, where none of them is set, so that heads do not
            take longer than what they are for.
        own: whoever uses it says what its classes and numbers mean, so that is doubted where it looks odd.
    """

    licence: str = "not stated"
    source: str = "not stated"
    layout: str = "not stated"
    protocol: str = "not stated"
    rules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    download: Callable[..., Path] | tuple[str, Sequence[Mapping[str, Any]]] | None = None
    small: Mapping[str, int] = field(default_factory=dict[str, int])
    own: bool = False


@dataclass(frozen=True, kw_only=True)
class TuningTraits(Traits):
    """Of a tuning method.

    Args:
        target: the kind of target that its batches have, such as ``label``; empty for none, so that it is
            self-supervised; or its settings, as keywords, to the spec of the task whose targets they are.
        presets: by name, settings of the method and of the recipe as somebody published them; where they are from
            stands in a text below each.
    """

    target: str | Callable[..., str] = ""
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])


@dataclass(frozen=True, kw_only=True)
class LaunchTraits(Traits):
    """Of a launcher.

    Args:
        waits: whether every cell has come to its end when it is back.
    """

    waits: bool = True


@dataclass(frozen=True, kw_only=True)
class ReportTraits(Traits):
    """Of a report.

    Args:
        ending: of the file that its text is written to, such as ``.csv``; empty where a file may be called anything.
        figures: as the report itself is called, to its figures of matplotlib, by the names of their files; None where
            it has none.
        beside: what it takes after the results, in this order: ``pictures`` gives the images of a result by its id,
            ``leaders`` the ids of those of several results that are best by test, ``spreads`` the images and classes
            behind a result.
        per_image: (results, what gives the scores of a result by image) to its text with a row for each image; None
            where it has none.
        per_class: (results, what gives the images and classes behind a result) to its text with a row for each class;
            None where it has none.
    """

    ending: str = ""
    figures: Callable[..., Mapping[str, Any]] | None = None
    beside: Sequence[Literal["pictures", "leaders", "spreads"]] = ()
    per_image: Callable[..., str] | None = None
    per_class: Callable[..., str] | None = None


RECORDS: Mapping[str, type[Traits]] = {
    "objectives": ObjectiveTraits,
    "attacks": AttackTraits,
    "checks": CheckTraits,
    "encoders": EncoderTraits,
    "models": ModelTraits,
    "datasets": DatasetTraits,
    "tuning": TuningTraits,
    "reports": ReportTraits,
    "launch": LaunchTraits,
}
"""The record of each kind; ``Traits`` for the others."""


def predicted(abilities: Collection[str]) -> str:
    """What a task with these abilities predicts, such as ``classes per pixel``."""
    what = [word for word in ("classes", "metres") if word in abilities]
    where = [word.replace("_", " ") for word in ("per_image", "per_pixel") if word in abilities]
    return " ".join([*(what or ["predictions" if where else "neither classes nor metres"]), *where])
