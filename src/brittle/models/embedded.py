"""The small network that comes with the package, trained by a recipe in the repository: ``model:embedded:unet``, a
U-Net for the masks of scenes."""

import json
from collections.abc import Sequence
from importlib.resources import files as resources
from typing import Any

from safetensors.torch import load

from brittle.core import files
from brittle.core.errors import UsageError, unknown
from brittle.core.traits import Ability, ModelTraits
from brittle.encoders.parts.wrappers import described
from brittle.models.parts.inner import inner
from brittle.models.parts.plain import Plain
from brittle.models.parts.unet import MEAN, STD, UNet
from brittle.types import Frame, Network
from brittle.types.network import Logits

MASKS: Sequence[Ability] = ("classes", "per_pixel")
SIZE = 64
DEEPEST = "down.3"


def embedded(argument: str, /) -> Network:
    """A U-Net of half a million parameters for 64-pixel images of scenes, trained on their masks with nothing done for
    robustness.

    Args:
        argument: name of the weights, ``unet``.

    Raises:
        UsageError: no such weights.
    """
    data, card = _weights(argument)
    network = UNet(len(card["classes"]))
    network.load_state_dict({key: value.float() for key, value in load(data).items()})
    about = described(network, sha256=card["sha256"], licence=card["licence"], source=f"model:embedded:{argument}")
    body = Plain(network, mean=MEAN, std=STD).eval()
    encoder = inner(body, DEEPEST, SIZE, about, sure=True)
    return Network(body, MASKS, Frame(SIZE), about=about, logits=Logits(card["classes"]), encoder=encoder).eval()


def fingerprint(argument: str, /) -> str:
    """sha256 of the weights, without building the network."""
    return files.sha256(_weights(argument)[0])


def predicts(argument: str, /) -> Sequence[Ability]:
    """Masks."""
    _weights(argument)
    return MASKS


def features() -> str:
    """The map of the lowest resolution."""
    return DEEPEST


def _weights(name: str) -> tuple[bytes, dict[str, Any]]:
    folder = resources("brittle") / "assets" / "networks"
    known = [item.name.removesuffix(".json") for item in folder.iterdir() if item.name.endswith(".json")]
    if name not in known:
        raise unknown("embedded network", name, known)
    data = (folder / f"{name}.safetensors").read_bytes()
    card = json.loads((folder / f"{name}.json").read_text(encoding="utf8"))
    if card["sha256"] != files.sha256(data):
        what = f"model:embedded:{name}: sha256 of the weights is not the card's {card['sha256'][:12]}"
        raise UsageError(f"{what}; reinstall brittle")
    return data, card


TRAITS = ModelTraits(fingerprint=fingerprint, predicts=predicts, features=features)
