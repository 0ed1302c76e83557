"""Whole networks as models: the task in their unit, and their outputs in the order of a data set's classes."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from brittle.core.records import Finding
from brittle.evaluation.protocol import Protocol
from brittle.models.parts.class_map import by_number, outputs_of
from brittle.planning.identity import Resolved
from brittle.types import Batch, Model, Network, Task

FAR = 5.0  # times the truth that no depth in metres is off by on average


def model_of(resolved: Resolved, network: Network, rule: Protocol) -> Model:
    """The model of a cell whose encoder is a whole network, in evaluation mode.

    Raises:
        UsageError: what the network's outputs stand for cannot be told, or is not what the data set has.
    """
    task, kind = resolved.task, resolved.task.target
    if kind and kind.classes:
        names = resolved.data("test").classes[kind.name]
        network = _scored(network, names, resolved.cell.dataset)
    return as_model(network, task.seen_from(network.unit, network.align), window=rule.window, stride=rule.stride)


def as_model(network: Network, task: Task, *, window: int = 0, stride: int = 0) -> Model:
    """A network as the model of a task."""
    return Model(task, network, network.encoder, window=window, stride=stride).eval()


def _scored(network: Network, names: Sequence[str], dataset: str) -> Network:
    """A network that gives the outputs of a data set's classes; its weights are shared."""
    twin = copy.copy(network)
    twin.outputs, twin.count, twin.note = outputs_of(network, names, dataset), len(names), by_number(network, names)
    return twin


@torch.no_grad()
def odd_unit(model: Model, batch: Batch) -> list[Finding]:
    """A warning where a network's metres are many times the truth, or a small part of it, on a batch of clean
    images."""
    network = model.network
    if network is None or "metres" not in network.predicts or network.unit != "metres":
        return []
    guess, truth, valid = model.task.metres(model(batch.images), batch.target)
    ratio = float((guess[valid] / truth[valid]).median()) if valid.any() else 1.0
    if 1 / FAR < ratio < FAR:
        return []
    why = f"its depth is {ratio:.3g} times the truth (median); most likely it is in another unit, or relative"
    return [Finding("unit", "warn", ratio, f"{why}: say scale= of model:py, or depth=inverse or relative")]


def passed(model: Model) -> nn.Module:
    """What images pass through once for each prediction: the network, or the encoder."""
    whole = model.network or model.encoder
    assert whole is not None
    return whole


def stated(model: Model) -> list[str]:
    """What the protocol of a whole network says beside how images come to it; nothing of an encoder."""
    network = model.network
    if network is None:
        return []
    said = ["the network resizes by itself, after the attack"] if network.frame.inside else []
    if "metres" in network.predicts and network.unit != "metres":
        what = "inverse depth" if network.unit == "inverse" else "relative depth"
        how = "scale by medians" if network.align == "median" else "scale and shift by least squares"
        said.append(f"{what}, {how} of each clean prediction, held fixed while it is attacked")
    said += [network.note] if network.note else []
    if network.outputs:
        said.append(f"outputs {_brief(network.outputs)} of the network for the classes in their order")
    return said


def _brief(outputs: tuple[int, ...]) -> str:
    """Such as ``1 to 150``, or the first and last of others."""
    first, last = outputs[0], outputs[-1]
    if outputs == tuple(range(first, last + 1)):
        return f"{first} to {last}"
    return ", ".join(map(str, outputs if len(outputs) <= 6 else (*outputs[:3], "...", *outputs[-2:])))
