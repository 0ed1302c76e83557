"""The setting ``head`` of a task: fitted on the last layer, fitted on four layers, or read from the file that its
authors published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.types import Encoder, weight_files

FILE = "file:"
SEVERAL = 4  # layers that DINOv2's larger heads read
PLACES = ("decode_head.", "", "module.decode_head.")
"""What comes before the names of a head's weights, the likeliest first; an auxiliary head has another."""


@dataclass(frozen=True)
class HeadChoice:
    """What a spec says of a head.

    Args:
        layers: how many it reads; 0 where its weights say.
        path: the file of its weights; empty where it is fitted.
        weights: of that file, by the names in our module.
        sha256: of that file.
    """

    layers: int = 1
    path: str = ""
    weights: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    sha256: str = ""

    def layers_of(self, encoder: Encoder, weight: str, parts: Sequence[int]) -> int:
        """How many layers of an encoder the head reads, 1 or ``SEVERAL``.

        Args:
            weight: the name of the weights [outputs, features, ...].
            parts: how many times the encoder's width it reads of one layer, and of ``SEVERAL``.

        Raises:
            UsageError: its file is for features of another width, or the encoder has fewer layers.
        """
        layers = self.layers
        if not layers:
            width, (one, several) = self.weights[weight].shape[1], [part * encoder.dim for part in parts]
            if width not in (one, several):
                reads = f"{one} of one layer, {several} of {SEVERAL}"
                raise UsageError(f"{self.path}: reads {width} features; {encoder.label} has {reads}; take its own head")
            layers = 1 if width == one else SEVERAL
        if layers > 1 and encoder.depth < SEVERAL:
            raise UsageError(f"{encoder.label} has {encoder.depth} layers; this head reads {SEVERAL}, take head=linear")
        return layers

    def fill(self, module: nn.Module, weight: str, outputs: int) -> None:
        """Put the weights of the file into a module.

        Raises:
            UsageError: it predicts another number of classes or bins than ``outputs``.
        """
        found = len(self.weights[weight])
        if found != outputs:
            raise UsageError(f"{self.path}: predicts {found} classes or bins, {outputs} are wanted; take another head")
        own = module.state_dict()  # of a convolution of 1x1 or a linear map, which are stored as either
        module.load_state_dict({**own, **{key: value.reshape_as(own[key]) for key, value in self.weights.items()}})


def chosen(head: str, names: Mapping[str, str], weight: str, others: Sequence[str] = ()) -> HeadChoice:
    """What ``head`` stands for: ``linear``, ``ms`` or ``file:PATH``. Nothing in a file is run.

    Args:
        names: of the weights in a published file to those in our module.
        weight: in our module, the name of those [outputs, features] or [outputs, features, 1, 1]; all others are
            [outputs] or [features].
        others: what else may stand there, for a head on the last layer.

    Raises:
        MissingError: no such file.
        UsageError: another word, or the file is damaged or no such head.
    """
    if not head.startswith(FILE):
        if head not in ("linear", "ms", *others):
            words = ", ".join(["linear", "ms", *others])
            raise UsageError(f"head={head!r} is none; there is {words}, and file:PATH for a published one")
        return HeadChoice(SEVERAL if head == "ms" else 1)
    path = files.expanded(head.removeprefix(FILE))
    loaded, sha256 = weight_files.read(path)
    inner = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else {}
    state = {key: value for key, value in inner.items() if isinstance(value, Tensor)}
    place = next((place for place in PLACES if all(f"{place}{name}" in state for name in names)), None)
    if place is None:
        held = ", ".join(list(map(str, state))[:4]) or "no weights"
        raise UsageError(f"{path}: is no head of this task, with {', '.join(names)}; it holds {held}")
    weights = {ours: state[f"{place}{theirs}"].float() for theirs, ours in names.items()}
    _validate(str(path), weights, weight)
    return HeadChoice(0, str(path), weights, sha256)


def _validate(path: str, weights: Mapping[str, Tensor], weight: str) -> None:
    """Refuse weights that do not go together, or are no numbers."""
    shape = tuple(weights[weight].shape)
    sizes = shape[:2]
    fitting = shape[2:] in ((), (1, 1)) and len(sizes) == 2 and 0 not in shape
    for name, value in weights.items():
        wanted = sizes[0] if name.rpartition(".")[0] == weight.rpartition(".")[0] else sizes[-1]
        if not fitting or (name != weight and tuple(value.shape) != (wanted,)):
            shapes = ", ".join(f"{key} {list(each.shape)}" for key, each in weights.items())
            raise UsageError(f"{path}: its weights do not go together ({shapes}); fetch it again")
        if not bool(torch.isfinite(value).all()):
            raise UsageError(f"{path}: {name} holds nan or inf; fetch it again")


def quarters(depth: int) -> Sequence[int]:
    """The layers at the end of each quarter of ``depth``, as DINOv2's depth heads on four layers read them: 2, 5, 8, 11
    of 12 and 9, 19, 29, 39 of 40, but 4, 11, 17, 23 of 24 (Oquab et al. 2023, their hub's code)."""
    return (4, 11, 17, 23) if depth == 24 else [depth * quarter // SEVERAL - 1 for quarter in range(1, SEVERAL + 1)]
