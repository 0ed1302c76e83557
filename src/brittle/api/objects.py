"""Python objects in place of specs: a user's own attack, objective, task or encoder becomes a component of
this process."""

import copy
import secrets
from collections.abc import Callable
from typing import Any

from torch import nn

from brittle.core import components, files
from brittle.core.errors import UsageError
from brittle.core.spec import Spec
from brittle.core.traits import RECORDS, EncoderTraits, Traits
from brittle.encoders.parts.own_module import as_encoder
from brittle.encoders.parts.wrappers import sha256_of_weights
from brittle.types import Batch, Encoder, Model, Objective, Task

_names: dict[tuple[str, int], tuple[object, str]] = {}  # the object is kept, so that no other gets its id


def spec_of(kind: str, given: Any) -> str:
    """The spec that stands for what was given: itself where it is text, else the name that the object now has.

    An attack is called as ``(model, batch, threat, rng)``, an objective as ``(model, batch)``; an attribute ``TRAITS``
    says what either can do. A task is a ``Task``, an encoder a ``torch.nn.Module`` as ``py:`` takes it. The name is
    another one in each process: what an object's code computes cannot be told from outside, so nothing that was
    measured with it is taken up by a later process.

    Raises:
        UsageError: it is neither text nor such an object.
    """
    if isinstance(given, str):
        return given
    key = (kind, id(given))
    if key not in _names:
        name = f"{_word(given)}_{secrets.token_hex(4)}"
        components.hand_over(kind, name, *_component(kind, given, name))
        _names[key] = (given, name)
    return _names[key][1]


def climbing(attack: str, objective: str | Callable[[Model, Batch], Objective] | None) -> str:
    """The spec of an attack with an objective in its settings; as it is where there is none."""
    if objective is None:
        return attack
    full = components.complete("attacks", attack)
    if "objective" not in full.settings:
        raise UsageError(f"attack {full.name!r} has no objective to set; take one that has, such as the default")
    return str(Spec(full.name, full.argument, {**full.settings, "objective": spec_of("objectives", objective)}))


def _word(given: Any) -> str:
    name = getattr(given, "__name__", type(given).__name__)
    return "".join(letter if letter.isalnum() else "_" for letter in name).strip("_") or "own"


def _component(kind: str, given: Any, name: str) -> tuple[Callable[..., Any], Traits]:
    if kind == "tasks" and isinstance(given, Task):
        return (lambda: given), Traits()
    if kind == "encoders" and isinstance(given, nn.Module):
        return (lambda: _encoder(given, name)), EncoderTraits(fingerprint=lambda: _fingerprint(given, name))
    if kind in ("tasks", "encoders") or not callable(given):
        wanted = {"tasks": "a brittle.types.Task", "encoders": "a torch.nn.Module"}.get(kind, "a callable")
        raise UsageError(f"one of the {kind} is {given!r:.60}; give a spec or {wanted}")
    record = RECORDS[kind]
    traits = getattr(given, "TRAITS", None) or record()
    if not isinstance(traits, record):
        raise UsageError(f"{given!r:.60}: its TRAITS are {type(traits).__name__}; they must be {record.__name__}")
    return (lambda *arguments: given(*arguments)), traits  # noqa: PLW0108 - hides its settings


def _fingerprint(module: nn.Module, name: str) -> str:
    return files.sha256(f"{name} {sha256_of_weights(module)}".encode())


def _encoder(module: nn.Module, name: str) -> Encoder:
    own = copy.deepcopy(module)  # the caller's stays where it is and in the mode it is in
    return as_encoder(own, name, sha256=sha256_of_weights(own), fingerprint=_fingerprint(own, name))
