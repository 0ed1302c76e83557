"""Checkpoints that others published: searched for the encoder inside, and fitted key by key."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from brittle.core.errors import UsageError

State = dict[str, Tensor]

_VIT = re.compile(r"(|.*?\.)(patch_embed\.proj\.weight|cls_token|pos_embed|blocks\.\d+\.)")
_RESNET = re.compile(r"(|.*?\.)layer[1-4]\.\d+\.")
_POSITIONS = {"0": "conv1", "1": "bn1", "3": "layer1", "4": "layer2", "5": "layer3", "6": "layer4"}
"""A ResNet's parts by their place in a ``Sequential`` called ``f``, as a SimCLR for CIFAR saves them."""
_SIMCLR2 = {  # SimCLRv2's names, as converted from TensorFlow, and torchvision's
    r"^net\.0\.0\.": "conv1.",
    r"^net\.0\.1\.0\.": "bn1.",
    r"^net\.([1-4])\.blocks\.(\d+)\.": r"layer\1.\2.",
    r"(layer\d\.\d+)\.projection\.shortcut\.": r"\1.downsample.0.",
    r"(layer\d\.\d+)\.projection\.bn\.0\.": r"\1.downsample.1.",
    **{rf"(layer\d\.\d+)\.net\.{2 * i}\.": rf"\1.conv{i + 1}." for i in range(3)},
    **{rf"(layer\d\.\d+)\.net\.{2 * i + 1}\.0\.": rf"\1.bn{i + 1}." for i in range(3)},
}
_PROFILED = ("total_ops", "total_params")
"""Endings of the keys that a profiler leaves among the weights."""
_OUTSIDE = re.compile(
    r"(module\.)?_?((head|fc|projector|predictor|classifier|linear|online|momentum|teacher|student|target|queue|center|loss|dino|ibot"
    r"|decoder|mask_token|base_encoder|encoder|backbone|prototypes|normalize)\w*|g|temperature|mean|std)(\.|$)"
)
"""Parts of a training set-up that are not part of the encoder, by the first word of their keys."""
_COPY = re.compile(r"momentum|teacher|target|ema|encoder_k")
"""Slow copies of an encoder, by the words in their prefix."""


class Candidate(NamedTuple):
    """An encoder inside a checkpoint: ``place`` (key of the dictionary that held it, then the prefix of its keys), its
    ``state`` without the prefix, the ``others`` beside it, and the checkpoint's top-level ``keys``."""

    place: str
    state: State
    others: Iterable[str]
    keys: Iterable[str]


def find(loaded: Any, path: Path, part: str = "") -> Candidate:
    """The encoder in a checkpoint, wherever its authors put it: bare, under ``state_dict``, ``model``, ``teacher``,
    with any prefix.

    Args:
        part: which one, where there are several: a word in its place, such as ``student``; a whole key, such as
            ``model``, before one that only contains it. Otherwise the teacher of a student beside it (as DINO's and
            DINOv2's authors evaluate), and what is trained rather than its slow copy everywhere else (MoCo's base
            encoder, solo-learn's backbone).

    Raises:
        UsageError: no encoder in it, or several and no ``part`` that chooses one.
    """
    candidates = [
        Candidate(f"{name}:{prefix}", inside, [key for key in state if not key.startswith(prefix)], list(loaded))
        for name, state in dictionaries(loaded)
        for prefix in _prefixes(state)
        for inside in [{key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}]
    ]
    if not candidates:
        keys = ", ".join(list(map(str, loaded))[:5]) if isinstance(loaded, Mapping) else type(loaded).__name__
        raise UsageError(
            f"{path}: no encoder found in it (it holds {keys}); known are ViTs and ResNets with their authors' "
            "names of keys"
        )
    places = ", ".join(candidate.place for candidate in candidates)
    exact = [candidate for candidate in candidates if _word(part, candidate.place)] if part else []
    chosen = exact or [candidate for candidate in candidates if part in candidate.place]
    if not chosen:
        raise UsageError(f"{path}: nothing in it is called {part!r}; there is {places}")
    taught = any(_word("student", candidate.place) for candidate in chosen)
    for prefer in (
        lambda place: place.startswith("teacher:") or (taught and _word("teacher", place)),
        lambda place: not _COPY.search(place.partition(":")[2]),
    ):
        chosen = [candidate for candidate in chosen if prefer(candidate.place)] or chosen
    if len(chosen) > 1:
        raise UsageError(f"{path}: several encoders in it ({places}); choose one with part=")
    return chosen[0]


def _word(word: str, place: str) -> bool:
    return word in re.split(r"[:.]", place)


def dictionaries(loaded: Any) -> list[tuple[str, State]]:
    """(key, dictionary of tensors) of every one in a checkpoint, at most two levels down; the key is empty for the
    checkpoint itself."""
    if not isinstance(loaded, Mapping):
        return []
    tensors = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}
    tensors = {_torchvision(key, tensors): value for key, value in tensors.items()}
    states = [("", tensors)] if tensors else []
    for key, value in loaded.items():
        if isinstance(value, Mapping):
            states += [(str(key) if not name else f"{key}.{name}", state) for name, state in dictionaries(value)]
    return states


def _torchvision(key: str, state: State) -> str:
    """torchvision's name of a ResNet's key, where its authors use their own."""
    if "f.3.0.conv1.weight" in state:
        return re.sub(r"^f\.(\d)", lambda match: f"f.{_POSITIONS.get(match[1], match[1])}", key)
    if "net.1.blocks.0.net.0.weight" in state:
        for theirs, ours in _SIMCLR2.items():
            key = re.sub(theirs, ours, key)
    return key


def _prefixes(state: State) -> list[str]:
    """The prefix of the keys of each encoder in ``state``, shortest first."""
    matches = [
        match.group(1) for key in state for pattern in (_VIT, _RESNET) for match in [pattern.match(key)] if match
    ]
    return sorted({prefix for prefix in matches if matches.count(prefix) > 8}, key=len)


def tensors(loaded: Any) -> State:
    """The dictionary with the most tensors in a checkpoint; empty where it holds none."""
    return max((state for _, state in dictionaries(loaded)), key=len, default={})


def cleaned(state: State) -> State:
    """The tensors without a profiler's counters, in float32."""
    kept = {key: value for key, value in state.items() if not key.endswith(_PROFILED)}
    return {key: value.float() if value.is_floating_point() else value for key, value in kept.items()}


def fit(network: nn.Module, state: State, extras: re.Pattern[str], label: str, others: Iterable[str] = ()) -> nn.Module:
    """The network with a checkpoint's tensors in its place (it may have been made on the meta device), every key
    accounted for.

    Args:
        state: tensors under the network's own names.
        extras: keys inside the encoder's prefix that are not part of it (heads, mask token, decoder).
        label: ``FILE as ARCHITECTURE``, for the error message.
        others: keys outside the encoder's prefix; projectors, heads and copies are ignored, anything else is
            an error.

    Raises:
        UsageError: keys missing, unexpected or misshapen: the first five and the coverage.
    """
    expected = network.state_dict()
    for key in expected.keys() - state.keys():
        if key.endswith("num_batches_tracked"):  # a counter that changes nothing in evaluation; old ones do not have it
            state = {**state, key: torch.zeros((), dtype=torch.long)}
    shapes = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    missing = [key for key in expected if key not in state]
    foreign = [key for key in state if key not in expected and not extras.match(key)]
    foreign += [key for key in others if not _OUTSIDE.match(key) and not key.endswith(_PROFILED)]
    if shapes or missing or foreign:
        share = 1 - (len(missing) + len(shapes)) / max(len(expected), 1)
        table = [f"{key} is {shape(state[key])}, wanted {shape(expected[key])}" for key in shapes[:5]]
        parts = [
            f"{len(keys)} {word}: {', '.join(shown[:5])}"
            for word, keys, shown in (
                ("misshapen", shapes, table),
                ("missing", missing, missing),
                ("unexpected", foreign, foreign),
            )
            if keys
        ]
        raise UsageError(f"{label} does not fit ({100 * share:.1f} % of the encoder's keys): {'; '.join(parts)}")
    network.load_state_dict({key: state[key] for key in expected}, strict=True, assign=True)
    return network.requires_grad_(True).eval()


def shape(tensor: Tensor) -> str:
    """Its shape as 768x3x16x16."""
    return "x".join(map(str, tensor.shape)) or "scalar"
