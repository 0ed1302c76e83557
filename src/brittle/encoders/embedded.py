"""The small encoders that come with the package, trained by the recipes in the repository: ``embedded:dino``; made
robust from it ``embedded:deacl``, ``embedded:fare`` and ``embedded:robust``; and ``embedded:random``, the same network
untrained. ``embedded:deacl@1`` stays what it is when the weights of that name are made again."""

import json
from importlib.resources import files as resources
from typing import Any

from brittle.core import files
from brittle.core.errors import UsageError, unknown
from brittle.core.traits import EncoderTraits
from brittle.types import Count, Encoder

ARCHITECTURE: dict[str, Any] = {"img_size": 64, "patch_size": 8, "embed_dim": 192, "depth": 6, "num_heads": 3}
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def embedded(argument: str, /, *, seed: Count = 0) -> Encoder:
    """A ViT (patch 8, width 192, 6 blocks, 2.7 M parameters) for 64-pixel images.

    Args:
        argument: name of the weights, with ``@`` and a version for those of one version; or ``random``.
        seed: of ``random``'s weights; trained weights have none.

    Raises:
        UsageError: no such weights, or a seed for trained weights.
    """
    import torch
    from safetensors.torch import load
    from timm.models.vision_transformer import VisionTransformer

    from brittle.encoders.parts.timm_network import TimmEncoder

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = VisionTransformer(num_classes=0, dynamic_img_size=True, **ARCHITECTURE)
    blocks: Any = network.blocks
    for block in blocks:
        # with 65 tokens the plain product is as fast on a CPU, and twice as fast in bfloat16
        block.attn.fused_attn = False
    licence = "Apache-2.0"
    if argument != "random":
        data, card = _weights(argument, seed)
        network.load_state_dict({key: value.float() for key, value in load(data).items()})
        licence = card.get("licence", licence)
    about = {
        "sha256": fingerprint(argument, seed=seed),
        "licence": licence,
        "parameters": sum(p.numel() for p in network.parameters()),
        "source": f"embedded:{argument}",
    }
    return TimmEncoder(
        network, ARCHITECTURE["patch_size"], size=ARCHITECTURE["img_size"], mean=MEAN, std=STD, about=about
    )


def fingerprint(argument: str, /, *, seed: int = 0) -> str:
    """sha256 of the weights (of the seed and the architecture for ``random``), without building the network."""
    if argument == "random":
        return files.sha256(f"random {seed} {ARCHITECTURE}".encode())
    return files.sha256(_weights(argument, seed)[0])


def claims(text: str) -> bool:
    """Whether a text is the name of embedded weights."""
    return text.partition("@")[0] in _known()


def _known() -> set[str]:
    names = [item.name for item in (resources("brittle") / "assets").iterdir()]
    return {"random", *(name.removesuffix(".safetensors") for name in names if name.endswith(".safetensors"))}


def _weights(name: str, seed: int) -> tuple[bytes, dict[str, Any]]:
    folder, known = resources("brittle") / "assets", _known()
    plain, _, version = name.partition("@")
    stem = name if name in known else plain
    if stem not in known or (version and stem == "random"):
        raise unknown("embedded encoder", name, known)
    if seed:
        raise UsageError(
            f"embedded:{name} has trained weights, so seed={seed} means nothing; only embedded:random takes a seed"
        )
    data = (folder / f"{stem}.safetensors").read_bytes()
    card = json.loads((folder / f"{stem}.json").read_text(encoding="utf8"))
    newest = str(card.get("version", 1))
    if version and newest != version:
        raise UsageError(f"embedded:{name}: there is no version {version!r} of {plain}; the newest is {newest}")
    if card["sha256"] != files.sha256(data):
        raise UsageError(
            f"embedded:{name}: sha256 of the weights is not the card's {card['sha256'][:12]}; reinstall brittle"
        )
    return data, card


TRAITS = EncoderTraits(fingerprint=fingerprint, claims=claims)
