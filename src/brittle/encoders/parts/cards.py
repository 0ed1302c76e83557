"""What ``brittle finetune`` wrote: weights, and a card beside them that names the encoder they belong to.

A card comes with weights that may be anybody's, so it runs nothing and fetches nothing: only a spec that the user typed
does.
"""

import json
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from brittle.core import components, files
from brittle.core.errors import MissingError, UsageError
from brittle.core.spec import Spec
from brittle.core.traits import EncoderTraits
from brittle.types import Encoder

_open: ContextVar[tuple[Path, ...]] = ContextVar("_open", default=())
"""The files whose cards are being followed, so that none leads back to itself."""


def has_one(path: Path) -> bool:
    """Whether a card lies beside weights."""
    return path.suffix == ".safetensors" and path.with_suffix(".json").is_file()


def card(path: Path) -> dict[str, str]:
    """The ``base`` and the ``sha256`` that the card beside weights names.

    Raises:
        MissingError: there is none.
        UsageError: it is none.
    """
    beside = path.with_suffix(".json")
    if not beside.is_file():
        raise MissingError(
            f"no file {beside}; brittle finetune writes encoder.safetensors and encoder.json side by side"
        )
    try:
        content = json.loads(beside.read_text(encoding="utf8"))
        return {"base": str(content["base"]), "sha256": str(content["sha256"])}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        why = " ".join(repr(error).split())[:100]
        raise UsageError(f"{beside}: is no card of an encoder ({why}); write it with brittle finetune") from None


def fingerprint(path: Path, base: str) -> str:
    """What stands for the weights and for how their base uses them; of a base that was typed, also for its own code."""
    own = _of_base(base) if base else ""
    return files.mixed(files.sha256_of_file(path), base=base or card(path)["base"], own=own)


def _of_base(base: str) -> str:
    full = components.complete("encoders", base)
    return components.call(_traits(full.name).fingerprint, full)


def tuned(path: Path, base: str, settings: Mapping[str, Any]) -> Encoder:
    """The encoder that the card names, or that the user typed, with these weights in its place.

    Raises:
        UsageError: the weights are not the card's or do not fit, a setting that the card decides, or a base that
            nobody typed and that would run code, be fetched, or lead back here.
    """
    from safetensors.torch import load

    known = card(path)
    data = path.read_bytes()
    sha = files.sha256(data)
    if sha != known["sha256"]:
        raise UsageError(f"{path}: sha256 is not the card's {known['sha256'][:12]}; the file was changed or cut short")
    for key, value in settings.items():
        if value not in ("", 0, (), "authors"):
            raise UsageError(
                f"{path}: {key}={value} cannot be set; the card beside the file says what it is ({known['base'][:80]})"
            )
    encoder = _built(path, base or _harmless(path, known["base"]))
    encoder.projector = None  # it was trained with the encoder before tuning
    encoder.about.pop("projector", None)
    state, expected = load(data), encoder.state_dict()
    mismatched = sorted(state.keys() ^ expected.keys())
    mismatched += sorted(key for key in state.keys() & expected.keys() if state[key].shape != expected[key].shape)
    if mismatched:
        share = len(state.keys() & expected.keys()) / max(len(expected), 1)
        name = (base or known["base"])[:80]
        raise UsageError(f"{path}: does not fit {name} ({share:.0%} of its keys): {', '.join(mismatched[:5])}")
    encoder.load_state_dict(state)
    encoder.about.update(sha256=sha, source=f"file:{path}", fingerprint=fingerprint(path, base))
    return encoder.eval()


def _built(path: Path, base: str) -> Encoder:
    """The base without weights of its own, where it can be made so: these ones take their place."""
    full = components.complete("encoders", base)
    if "pretrained" in full.settings:
        full = Spec(full.name, full.argument, {**full.settings, "pretrained": False})
    here = path.resolve()
    if here in _open.get():
        raise UsageError(f"{path}: its card leads back to itself; write it with brittle finetune")
    token = _open.set((*_open.get(), here))
    try:
        return components.build("encoders", full)
    finally:
        _open.reset(token)


def _harmless(path: Path, base: str) -> str:
    """The base that a card names, if nothing of it is run or fetched."""
    beside = path.with_suffix(".json")
    try:
        full = components.complete("encoders", base)
    except UsageError as error:
        raise UsageError(f"{beside}: its base {base[:80]!r} is no encoder ({str(error)[:120]})") from None
    foreign = _traits(full.name).foreign
    why = components.call(foreign, full) if foreign else ""
    if why:
        raise UsageError(
            f"{beside}: its base {base[:80]!r} {why}, which a card may not ask for; if you trust it, type it: "
            f"file:{path}(base=...)"
        )
    return base


def _traits(name: str) -> EncoderTraits:
    traits = components.component("encoders", name).traits
    assert isinstance(traits, EncoderTraits), name
    return traits
