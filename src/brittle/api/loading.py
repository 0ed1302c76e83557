"""Encoders, data sets and results by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from brittle.api.world import world
from brittle.core import components
from brittle.core.errors import UsageError
from brittle.planning import plan as plans
from brittle.results.listed import Results
from brittle.types import Dataset, Encoder, Network, Sample


def load_encoder(text: str) -> Encoder:
    """The encoder of a spec, in evaluation mode: images [B,3,H,W] in [0,1] to Features.

    Raises:
        UsageError, MissingError: the spec makes no sense, or its weights are not there.
    """
    with world():
        built = components.build("encoders", text)
        if isinstance(built, Encoder):
            return built.eval()
    raise UsageError(f"{text} is a whole network, not an encoder; use brittle.load_model({text.partition(':')[2]!r})")


def load_model(text: str) -> Network:
    """The whole network of a spec such as ``hf:nvidia/segformer-b0``, in evaluation mode: images [B,3,H,W] in [0,1] to
    its prediction.

    Raises:
        UsageError, MissingError: the spec makes no sense, or its weights are not there.
    """
    with world():
        return components.build("models", text.removeprefix("model:")).eval()


def save_model(path: str | Path, encoder: str, dataset: str, task: str, *, seed: int = 0) -> Path:
    """Write an encoder's head for a task, fitted on a data set where that has not been done, to be attacked or handed
    on as a whole network: ``model:file:PATH``, or ``brittle.load_model("file:PATH")``.

    Returns:
        The path.

    Raises:
        UsageError, MissingError: a spec makes no sense, or what it names is not there.
    """
    from brittle.encoders.parts import cards
    from brittle.evaluation.machine import machine
    from brittle.evaluation.measure import model_of
    from brittle.planning.identity import resolve
    from brittle.planning.sweep import cells_of

    with world(seed):
        plan = plans.make(encoders=[encoder], datasets=[dataset], tasks=[task], attacks=[], seeds=[seed])
        (cell,), _ = cells_of(plan)
        resolved = resolve(cell)
        model, rule = model_of(resolved, machine())
        if model.head is None or model.network or resolved.task.head_sha256:
            raise UsageError(f"{encoder} for {task} has a head of its own; there is none to write")
        kind = resolved.task.target
        classes = list(resolved.data("test").classes[kind.name]) if kind and kind.classes else []
        about = {
            **{"base": cell.encoder, "weights": resolved.weights, "task": cell.task, "data": cell.dataset},
            **{"classes": classes, "layers": list(rule.look.layers), "norm": rule.look.norm},
            **{"reads": list(rule.reads), "size": rule.size, "window": rule.window},
        }
        assert isinstance(model.head, nn.Module)
        target = Path(path).expanduser()
        cards.write(target, model.head, about)
        return target


def encoder_in(text: str) -> Encoder:
    """The encoder of a spec, or the one inside a whole network; UsageError where none is known there."""
    with world():
        built = components.build("encoders", text)
    if isinstance(built, Network):
        if built.encoder is None:
            raise UsageError(f"{text}: no encoder is known in this network; say which module with features=MODULE")
        built = built.encoder
    return built.eval()


def load_dataset(text: str, split: str = "test") -> Dataset:
    """One split (``train``, ``val`` or ``test``) of the data set of a spec."""
    if split not in ("train", "val", "test"):
        raise UsageError(f"no split {split!r}; there is train, val, test")
    with world():
        return cast(Dataset, Loaded(components.build("datasets", text, split)))


class Loaded:
    """A data set whose samples are the same whatever the process that reads them has set; all else is its own."""

    def __init__(self, data: Dataset) -> None:
        self._data = data

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # also while it is unpickled, when it has no data yet
            raise AttributeError(name)
        return getattr(self._data, name)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int, /) -> Sample:
        with world():
            return self._data[index]

    def glance(self, index: int, kind: str, /) -> tuple[Sequence[int], Tensor]:
        """See ``DatasetDefaults``."""
        with world():
            return self._data.glance(index, kind)

    def raw(self, index: int, /) -> Sample:
        """See ``DatasetDefaults``."""
        with world():
            return self._data.raw(index)

    def clean(self, sample: Sample, /) -> Sample:
        """See ``DatasetDefaults``."""
        with world():
            return self._data.clean(sample)


def read_run(folder: str | Path) -> Results:
    """All results of a run folder."""
    from brittle.results.store import read_run as read

    return Results(read(folder), Path(folder))
