"""An encoder from a file of weights: ``file:runs/deacl/encoder.safetensors``, as ``brittle finetune`` writes it."""

import json
from pathlib import Path

from brittle import files
from brittle.errors import MissingError, UsageError
from brittle.types import Encoder


def file(argument: str, /) -> Encoder:
    """The encoder named in the card beside the weights (``encoder.json``: its spec and the sha256), with these weights in its place.

    Raises:
        MissingError: no such file, or no card beside it.
        UsageError: the file is not what the card says, or its keys do not fit.
    """
    from safetensors.torch import load

    from brittle import spec

    path = Path(argument).expanduser()
    card = _card(path)
    data = path.read_bytes()
    if files.sha256(data) != card["sha256"]:
        raise UsageError(f"{path}: sha256 is not the card's {card['sha256'][:12]}; the file was changed or cut short")
    encoder: Encoder = spec.build("encoders", card["base"])
    given, wanted = load(data), encoder.state_dict()
    odd = sorted(given.keys() ^ wanted.keys())
    odd += sorted(key for key in given.keys() & wanted.keys() if given[key].shape != wanted[key].shape)
    if odd:
        share = len(given.keys() & wanted.keys()) / max(len(wanted), 1)
        raise UsageError(f"{path}: does not fit {card['base']} ({share:.0%} of its keys): {', '.join(odd[:5])}")
    encoder.load_state_dict(given)
    encoder.about.update(sha256=card["sha256"], source=f"file:{path}")
    return encoder


def fingerprint(argument: str, /) -> str:
    """sha256 of the weights."""
    path = Path(argument).expanduser()
    _card(path)
    return files.sha256_of_file(path)


def _card(path: Path) -> dict[str, str]:
    for wanted in (path, path.with_suffix(".json")):
        if not wanted.is_file():
            raise MissingError(f"no file {wanted}; brittle finetune writes encoder.safetensors and encoder.json side by side")
    try:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf8"))
        return {"base": str(card["base"]), "sha256": str(card["sha256"])}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path.with_suffix('.json')}: is no card of an encoder ({error!r}); write it with brittle finetune") from None
