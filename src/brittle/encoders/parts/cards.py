"""What ``brittle finetune`` wrote: weights, and a card inside the file that names the encoder they belong to; earlier
versions wrote it beside them.

A card comes with weights that may be anybody's, so it runs nothing and fetches nothing: only a spec that the user typed
does.
"""

import json
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from torch import nn

from brittle.core import components, files
from brittle.core.errors import MissingError, UsageError
from brittle.core.spec import Spec
from brittle.core.traits import EncoderTraits
from brittle.types import Encoder

INSIDE = "brittle"  # the card's name in the metadata of a safetensors file
MOST = 2**53  # steps, which are whole numbers in any JSON below it
LARGEST = 2**27  # bytes that a header can have
_open: ContextVar[tuple[Path, ...]] = ContextVar("_open", default=())
"""The files whose cards are being followed, so that none leads back to itself."""


def write(path: Path, encoder: nn.Module, about: Mapping[str, Any]) -> None:
    """Write the weights of an encoder, or of a head, with the card ``about`` inside, whole or not at all.

    Args:
        about: ``base``, the spec of the encoder whose place the weights take, and whatever else may be of use:
            ``step``, ``epoch`` and ``method`` make it part of a history.
    """
    from safetensors.torch import save

    state = {key: value.detach().cpu().contiguous() for key, value in encoder.state_dict().items()}
    bare = save(state)
    sha = files.sha256(bare[_header(bare) :])
    files.write_whole(path, save(state, {INSIDE: json.dumps({**about, "sha256": sha})}))


def has_one(path: Path) -> bool:
    """Whether weights have a card."""
    return path.suffix == ".safetensors" and (path.with_suffix(".json").is_file() or bool(_inside(path)))


def card(path: Path) -> dict[str, Any]:
    """What the card of weights says, at least the ``base`` and the ``sha256`` of the file or, of a card inside, of its
    tensors.

    Raises:
        MissingError: there is none.
        UsageError: it is none.
    """
    inside, beside = _inside(path), path.with_suffix(".json")
    if not inside and not beside.is_file():
        raise MissingError(f"no card in {path}, and no file {beside}; write both with brittle finetune")
    try:
        content = json.loads(inside or beside.read_text(encoding="utf8"))
        return {**content, "base": str(content["base"]), "sha256": str(content["sha256"])}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        why = " ".join(repr(error).split())[:100]
        where = path if inside else beside
        raise UsageError(f"{where}: is no card of an encoder ({why}); write it with brittle finetune") from None


def history(path: Path) -> dict[str, Any]:
    """Where in a history weights belong: the ``method``, its ``base``, the ``step`` and the ``epoch`` that their card
    names; nothing where none names a step that there can be."""
    try:
        known = json.loads(_inside(path))
        step, epoch = known["step"], known.get("epoch")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    if type(step) is not int or not 0 <= step < MOST:
        return {}
    whole = type(epoch) in (int, float) and 0 <= epoch < MOST
    texts = {key: str(known.get(key, "")) for key in ("method", "base")}
    return {**texts, "step": step, "epoch": float(epoch) if whole else None}


def _inside(path: Path) -> str:
    """The card in the file's own metadata, as text; nothing where there is none, or no such file."""
    try:
        with path.open("rb") as stream:
            head = json.loads(stream.read(min(int.from_bytes(stream.read(8), "little"), LARGEST)))
        found = head["__metadata__"][INSIDE]
        return found if isinstance(found, str) else ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _header(data: bytes) -> int:
    """Where the tensors begin in a safetensors file."""
    return 8 + int.from_bytes(data[:8], "little")


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

    from brittle.encoders.parts import extra_tokens

    known = card(path)
    data = path.read_bytes()
    sha = files.sha256(data)
    if known["sha256"] not in (sha, files.sha256(data[_header(data) :])):
        raise UsageError(f"{path}: sha256 is not the card's {known['sha256'][:12]}; the file was changed or cut short")
    for key, value in settings.items():
        if value not in ("", 0, (), "authors"):
            raise UsageError(f"{path}: {key}={value} cannot be set; its card says what it is ({known['base'][:80]})")
    encoder = _built(path, base or harmless(path, known["base"]))
    encoder.projector = None  # it was trained with the encoder before tuning
    encoder.about.pop("projector", None)
    state = load(data)
    if extra_tokens.KEY in state.keys() - encoder.state_dict().keys():
        encoder = extra_tokens.extended(encoder, state[extra_tokens.KEY])
    expected = encoder.state_dict()
    mismatched = sorted(state.keys() ^ expected.keys())
    mismatched += sorted(key for key in state.keys() & expected.keys() if state[key].shape != expected[key].shape)
    if mismatched:
        share = len(state.keys() & expected.keys()) / max(len(expected), 1)
        name = (base or known["base"])[:80]
        raise UsageError(f"{path}: does not fit {name} ({share:.0%} of its keys): {', '.join(mismatched[:5])}")
    encoder.load_state_dict(state)
    encoder.about.update(sha256=sha, source=f"file:{path}", fingerprint=fingerprint(path, base))
    if history(path):
        encoder.about["history"] = history(path)
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
        built = components.build("encoders", full)
    finally:
        _open.reset(token)
    if isinstance(built, Encoder):
        return built
    raise UsageError(f"{path}: its base {base[:80]!r} is a whole network; only encoders are tuned")


def harmless(path: Path, base: str) -> str:
    """The base that a card names, if nothing of it is run or fetched."""
    beside = path if _inside(path) else path.with_suffix(".json")
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
