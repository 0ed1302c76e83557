"""Where a number comes from: task, versions, weights, data, settings and cost."""

import platform
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

import brittle
from brittle.core.traits import ObjectiveTraits
from brittle.evaluation.compiled import Compiled
from brittle.evaluation.inspection import drawn
from brittle.evaluation.machine import Machine
from brittle.evaluation.networks import passed, stated
from brittle.evaluation.protocol import Protocol
from brittle.evaluation.subset import describe
from brittle.planning.identity import Resolved, whole
from brittle.types import LabelFree, Model, Task


@contextmanager
def counted(encoder: nn.Module) -> Generator[dict[str, float]]:
    """How many images went forward through the encoder and how many backward."""
    count: dict[str, float] = {"forwards": 0, "backwards": 0}

    def forward(_module: object, inputs: tuple[Tensor, ...], _output: object) -> None:
        count["forwards"] += len(inputs[0])
        if inputs[0].requires_grad:
            size = len(inputs[0])
            inputs[0].register_hook(lambda _gradient: count.update(backwards=count["backwards"] + size))

    handle = encoder.register_forward_hook(forward)
    try:
        yield count
    finally:
        handle.remove()


def facts_of(task: Task) -> dict[str, Any]:
    """What a result says of its task, so that no report needs the task itself."""
    names = ("name", "headline", "higher_is_better", "attack", "unlike")
    return {name: getattr(task, name) for name in names}


def _aims(resolved: Resolved) -> dict[str, Any]:
    """The names of the classes that an attack climbs towards, by their numbers."""
    attack, kind = resolved.attack, resolved.task.target
    if attack is None or kind is None:
        return {}
    names = resolved.data("test").classes[kind.name]
    traits = [(part.spec.settings, traits.aims) for part, traits in attack.having(ObjectiveTraits) if traits.aims]
    labels = {label for settings, aims in traits for label in aims(settings) if 0 <= label < len(names)}
    return {"aims": {str(label): names[label] for label in sorted(labels)}} if labels else {}


def _head_of(resolved: Resolved) -> dict[str, Any]:
    """On how many images the head was fitted, or what stands for the file that it was read from."""
    if whole(resolved.cell.encoder):
        return {}
    if resolved.task.head_sha256:
        return {"head_sha256": resolved.task.head_sha256}
    return {} if isinstance(resolved.task, LabelFree) else {"train_images": len(resolved.data("train"))}


def made_by(resolved: Resolved, model: Model, rule: Protocol, machine: Machine, images: int) -> dict[str, Any]:
    """What made a number of so many ``images``, as plain data."""
    cell, encoder = resolved.cell, passed(model)
    cpu = f"cpu x{torch.get_num_threads()}"
    device = torch.cuda.get_device_name(machine.device) if machine.device.startswith("cuda") else cpu
    versions = {"brittle": brittle.__version__, **{key: version(key) for key in ("torch", "timm", "numpy")}}
    data, attack = resolved.data("test"), resolved.attack
    stored = attack.attack_traits.stored if attack else None
    return {
        "versions": {"python": platform.python_version(), **versions},
        "device": device,
        "precision": machine.precision,
        **({"compiled": encoder.compiled} if isinstance(encoder, Compiled) else {}),
        "weights_sha256": resolved.weights,
        "weights": encoder.about,
        "data_sha256": data.fingerprint,
        "basis": resolved.basis,
        "protocol": ", ".join(filter(None, [rule.describe(), *stated(model), describe(images, data, drawn(cell)[1])])),
        "left_out": data.left_out,
        **_head_of(resolved),
        "data_licence": data.licence,
        "settings": {kind: str(part.spec) for kind, part in resolved.parts.items()},
        **_aims(resolved),
        **({"climbs": model.look.describe(model.reads)} if attack and attack.reads_as_head else {}),
        **({"attack": stored.about(attack.spec.argument)} if attack and stored else {}),
    }
