"""Any timm model with features, by its timm name: ``timm:vit_small_patch14_dinov2.lvd142m(size=518)``."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.core.traits import EncoderTraits
from brittle.encoders.parts import timm_library
from brittle.encoders.parts.wrappers import Pooled, Size
from brittle.types import Encoder


def timm(
    argument: str,
    /,
    *,
    size: Size = 0,
    pretrained: bool = True,
    layer: int = -1,
    checkpoint: str = "",
    pooled: Pooled = "tokens",
) -> Encoder:
    """A timm model without its classifier; mean, std, native size and licence come from timm.

    Args:
        argument: timm's name, with the tag of the weights after a dot.
        size: edge of the images it is used at; 0 for its native size. Position embeddings are interpolated.
        pretrained: load the published weights (from the hub's cache, or downloaded); false for random ones from seed 0.
        layer: which of timm's feature levels (the blocks of a ViT, the stages of a CNN), counted as Python does; -1 is
            the last.
        checkpoint: a file of weights in place of the published ones, as timm's scripts or ``torch.save`` of a
            ``state_dict`` leave it; the averaged weights where it holds them as well.
        pooled: ``tokens`` for the final-norm CLS token or the mean of the grid, ``native`` for what the model itself
            pools, such as by attention, at the price of a second pass.

    Raises:
        UsageError: timm has no such model, or none with features, or no such layer; a checkpoint that does not fit.
        MissingError: the weights are neither in the cache nor downloadable; no such checkpoint.
    """
    from brittle.encoders.parts.timm_network import TimmEncoder
    from brittle.encoders.parts.wrappers import described, levels

    config = timm_library.config_of(argument)
    network, fixed = timm_library.built(argument, size, pretrained and not checkpoint, num_classes=0)
    if not hasattr(network, "forward_intermediates") or not levels(network):
        raise UsageError(
            f"timm:{argument} gives no intermediate features; choose a ViT, ResNet, ConvNeXt or another with "
            "forward_intermediates"
        )
    count = len(levels(network))
    if not -count <= layer < count:
        raise UsageError(f"timm:{argument} has layers -{count} to {count - 1}, got layer={layer}")
    sha = _loaded(network, argument, Path(checkpoint).expanduser()) if checkpoint else _sha256(argument, pretrained)
    random = "" if pretrained or checkpoint else ", random weights"
    about = described(
        network,
        sha256=sha,
        licence="unknown" if checkpoint else config.license or "unknown",
        source=f"timm:{argument}" + (f" with {checkpoint}" if checkpoint else random),
        fingerprint=_identity(argument, sha, {"size": size, "layer": layer, "pooled": pooled}),
    )
    height, width = (size, size) if fixed else config.input_size[-2:]
    patch = int(levels(network)[layer]["reduction"])
    if fixed and size < patch:
        raise UsageError(
            f"timm:{argument} sees patches of {patch} pixels, so size={size} has none; give {patch} or more"
        )
    facts: dict[str, Any] = {"native": (height, width), "size": size or width, "mean": config.mean, "std": config.std}
    return TimmEncoder(network, patch, layer=layer, pooled=pooled, about=about, **facts).eval()


def fingerprint(argument: str, /, *, pretrained: bool = True, checkpoint: str = "", **settings: Any) -> str:
    """sha256 over the names and values of all weights (of the bytes of a checkpoint), mixed with the model's name, as
    that decides how they are used, and with the settings that change features."""
    if not checkpoint:
        return _identity(argument, _sha256(argument, pretrained), settings)
    from brittle.types.weight_files import sha256_of

    timm_library.config_of(argument)
    return _identity(argument, sha256_of(Path(checkpoint).expanduser()), settings)


def validate(argument: str, /, *, checkpoint: str = "", **settings: Any) -> None:
    """Read a checkpoint once, before any work starts, so that one that does not fit is refused then."""
    if checkpoint:
        timm(argument, checkpoint=checkpoint, **settings)


def claims(text: str) -> bool:
    """Whether a text begins with the name of a model of timm."""
    import timm as library

    return bool(text) and library.is_model(text.partition(".")[0])


def _identity(argument: str, sha: str, settings: dict[str, Any]) -> str:
    defaults: dict[str, Any] = {"size": 0, "layer": -1, "pooled": "tokens"}
    changed = {key: str(value) for key, value in settings.items() if value != defaults[key]}
    return files.mixed(sha, model=argument, **changed)


@lru_cache(maxsize=64)
def _sha256(argument: str, pretrained: bool) -> str:
    from brittle.encoders.parts.wrappers import sha256_of_weights

    timm_library.config_of(argument)
    return sha256_of_weights(timm_library.built(argument, 0, pretrained, num_classes=0)[0])


def _loaded(network: Any, argument: str, path: Path) -> str:
    """Put a checkpoint's tensors into the network; the sha256 of the bytes that they came from."""
    from brittle.encoders.parts import checkpoints
    from brittle.types.weight_files import read

    loaded, sha = read(path)
    states = dict(checkpoints.dictionaries(loaded))
    averaged = next((name for name in ("state_dict_ema", "model_ema") if name in states), "")
    found = states[averaged] if averaged else checkpoints.tensors(loaded)
    state = {re.sub(r"^(module\.|_orig_mod\.)+", "", key): value for key, value in checkpoints.cleaned(found).items()}
    heads: Any = network.default_cfg.get("classifier") or "head.fc"
    names = [heads] if isinstance(heads, str) else list(heads)
    extras = re.compile("|".join(rf"{re.escape(name)}\." for name in names) + r"|mask_token$")
    checkpoints.fit(network, state, extras, f"{path} as {argument}")
    return sha


TRAITS = EncoderTraits(fingerprint=fingerprint, validate=validate, claims=claims)
