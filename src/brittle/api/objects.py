"""Python objects in place of specs: a user's own attack, objective, task or encoder becomes a component of
this process."""

import copy
import re
import secrets
from collections.abc import Callable
from typing import Any

from torch import nn

from brittle.core import components, files
from brittle.core.errors import UsageError
from brittle.core.spec import Spec
from brittle.core.traits import RECORDS, AttackTraits, EncoderTraits, ModelTraits, Traits
from brittle.core.tree import forget
from brittle.encoders.parts.own_module import as_encoder
from brittle.encoders.parts.wrappers import sha256_of_weights
from brittle.planning.identity import task_of
from brittle.types import Batch, Encoder, Model, Network, Objective, Task

NEEDED = ("name", "target", "attack", "headline", "higher_is_better")  # of a task


class Objects:
    """The objects of one call: ``with Objects() as objects: objects.spec_of("attacks", my_attack)``. Inside, each has a
    name of its own; afterwards nothing is kept of them.

    An attack is called as ``(model, batch, threat, rng)``, an objective as ``(model, batch)``; an attribute ``TRAITS``
    says what either can do. A task is a ``Task``, an encoder a ``torch.nn.Module`` as ``py:`` takes it. The name is
    another one in each call: what an object computes cannot be told from outside, so nothing that was measured with it
    is taken up later.
    """

    def __init__(self) -> None:
        self._names: dict[tuple[str, int], str] = {}

    def __enter__(self) -> "Objects":
        return self

    def __exit__(self, *_error: object) -> None:
        for (kind, _), name in self._names.items():
            components.take_back(kind, name)
        if self._names:
            forget()
            task_of.cache_clear()

    def spec_of(self, kind: str, given: Any) -> str:
        """The spec that stands for what was given: itself where it is text, else the name of the object.

        Raises:
            UsageError: it is neither text nor an object of that kind.
        """
        if isinstance(given, str):
            return given
        key = (kind, id(given))
        if key not in self._names:
            name = f"{_word(given)}_{secrets.token_hex(4)}"
            components.hand_over(kind, name, _component(kind, given, name))
            self._names[key] = name
        return self._names[key]

    def climbing(self, attack: str, objective: str | Callable[[Model, Batch], Objective] | None) -> str:
        """The spec of an attack with an objective in its settings; as it is where there is none."""
        if objective is None:
            return attack
        full = components.complete("attacks", attack)
        if "objective" not in full.settings:
            raise UsageError(f"attack {full.name!r} has no objective to set; take one that has, such as the default")
        settings = {**full.settings, "objective": self.spec_of("objectives", objective)}
        return str(Spec(full.name, full.argument, settings))


def _word(given: Any) -> str:
    """A name that a spec may hold, from the object's own."""
    name = re.sub(r"\W", "_", str(getattr(given, "__name__", type(given).__name__)), flags=re.ASCII).strip("_")
    return name if name[:1].isalpha() else f"own_{name}".rstrip("_")


def _component(kind: str, given: Any, name: str) -> components.Component:
    if kind == "tasks" and isinstance(given, Task):
        missing = [word for word in NEEDED if not hasattr(given, word)]
        if missing:
            raise UsageError(f"task {given!r:.60} has no {', '.join(missing)}; see brittle.types.Task")
        return components.Component(lambda: given, Traits())
    if kind == "encoders" and isinstance(given, Network):
        features = "known" if given.encoder else ""
        traits = ModelTraits(
            fingerprint=lambda: _fingerprint(given, name), predicts=lambda: given.predicts, features=lambda: features
        )
        return components.Component(lambda: _network(given, name), traits)
    if kind == "encoders" and isinstance(given, nn.Module):
        traits = EncoderTraits(fingerprint=lambda: _fingerprint(given, name))
        return components.Component(lambda: _encoder(given, name), traits)
    if kind in ("tasks", "encoders") or not callable(given):
        wanted = {"tasks": "a brittle.types.Task", "encoders": "a torch.nn.Module"}.get(kind, "a callable")
        raise UsageError(f"the {components.singular(kind)} is {given!r:.60}; give a spec or {wanted}")
    record = RECORDS[kind]
    traits = getattr(given, "TRAITS", None) or record()
    if not isinstance(traits, record):
        raise UsageError(f"{given!r:.60}: its TRAITS are {type(traits).__name__}; they must be {record.__name__}")
    if isinstance(traits, AttackTraits) and (traits.learns or traits.stored):
        raise UsageError(f"{given!r:.60} learns or reads images; such an attack needs settings, so write it as a file")
    return components.Component(lambda *arguments: given(*arguments), traits)  # noqa: PLW0108 - hides its settings


def _fingerprint(module: nn.Module, name: str) -> str:
    return files.sha256(f"{name} {sha256_of_weights(module)}".encode())


def _network(network: Network, name: str) -> Network:
    own = copy.deepcopy(network)
    own.about = {**own.about, "fingerprint": _fingerprint(own, name)}
    return own.eval()


def _encoder(module: nn.Module, name: str) -> Encoder:
    own = copy.deepcopy(module)  # the caller's stays where it is and in the mode it is in
    return as_encoder(own, name, sha256=sha256_of_weights(own), fingerprint=_fingerprint(own, name))
