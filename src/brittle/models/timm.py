"""A classifier of timm, by its timm name: ``model:timm:resnet50.a1_in1k``."""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.core.traits import Ability, ModelTraits
from brittle.encoders.parts import checkpoints, timm_library
from brittle.encoders.parts.timm_network import TimmEncoder
from brittle.encoders.parts.wrappers import Size, described, levels, sha256_of_weights
from brittle.models.parts.class_map import IMAGENET, imagenet
from brittle.models.parts.plain import Plain
from brittle.models.parts.settings import At, First, identity, inside
from brittle.types import Encoder, Frame, Network, Positive
from brittle.types.network import Logits
from brittle.types.weight_files import read, sha256_of

PREDICTS: Sequence[Ability] = ("classes", "per_image")


def timm(
    argument: str,
    /,
    *,
    pretrained: bool = True,
    checkpoint: str = "",
    outputs: Size = 0,
    size: Size = 0,
    at: At = "auto",
    classes: Sequence[int] = (),
    first: First = -1,
    temperature: Positive = 1.0,
) -> Network:
    """A timm model with its classifier; mean, std, native size, crop and classes come from timm.

    Args:
        argument: timm's name, with the tag of the weights after a dot.
        pretrained: load the published weights (from the hub's cache, or downloaded); false for random ones from seed 0.
        checkpoint: a file of weights in place of the published ones, as timm's scripts or ``torch.save`` of a
            ``state_dict`` leave it; the averaged weights where it holds them as well.
        outputs: how many classes it has; 0 for as many as timm says. Other numbers need a checkpoint or random weights.
        size: edge of the images it is used at; 0 for its native size.
        at: where the attack happens: ``input``, on the image as the network takes it (``auto``); ``image``, before
            timm's own transforms resize and crop it.
        classes: the output of each class of the data set; empty to go by their names.
        first: the output of its first class where the others follow in their order; -1 to go by names.
        temperature: what its logits are divided by, for a network that is calibrated so.

    Raises:
        UsageError: timm has no such model, or a checkpoint that does not fit.
        MissingError: the weights are neither in the cache nor downloadable; no such checkpoint.
    """
    network, config = _network(argument, pretrained, checkpoint, outputs, size)
    sha = sha256_of(Path(checkpoint).expanduser()) if checkpoint else sha256_of_weights(network)
    random = "" if pretrained or checkpoint else ", random weights"
    settings = {"size": size, "at": at, "classes": classes, "first": first, "outputs": outputs}
    settings |= {"temperature": temperature}
    about = described(
        network,
        sha256=sha,
        licence="unknown" if checkpoint else config.license or "unknown",
        source=f"model:timm:{argument}" + (f" with {checkpoint}" if checkpoint else random),
        fingerprint=_identity(argument, sha, settings),
    )
    within = inside(at, PREDICTS)
    data, prepare = _transforms(network, size)
    mean, std, edge = data["mean"], data["std"], data["input_size"][-1]
    body = Plain(network, mean=mean, std=std, prepare=prepare if within else None).eval()
    pixels = "bilinear" if data["interpolation"] == "bilinear" else "bicubic"
    frame = Frame(edge, int(edge / data["crop_pct"]) if data["crop_pct"] < 1 else 0, pixels, within)
    count = int(network.num_classes)
    names = imagenet() if count == IMAGENET and not checkpoint else ()
    encoder = None if within else _encoder(network, config, edge, mean, std, about)
    return Network(
        body, PREDICTS, frame, about=about, logits=Logits(names, classes, first, temperature), encoder=encoder
    ).eval()


def fingerprint(argument: str, /, *, pretrained: bool, checkpoint: str, **settings: Any) -> str:
    """sha256 over the names and values of all weights (of the bytes of a checkpoint), mixed with the model's name, as
    that decides how they are used, and with the settings that change predictions."""
    timm_library.config_of(argument)
    if checkpoint:
        return _identity(argument, sha256_of(Path(checkpoint).expanduser()), settings)
    return _identity(argument, _sha256(argument, pretrained, settings["outputs"], settings["size"]), settings)


def predicts(**_settings: Any) -> Sequence[Ability]:
    """Labels, whichever model it is."""
    return PREDICTS


def features(*, at: str, **_settings: Any) -> str:
    """Its encoder is what timm says; where the network resizes by itself, none."""
    return "" if inside(at, PREDICTS) else "forward_intermediates"


@lru_cache(maxsize=64)
def _sha256(argument: str, pretrained: bool, outputs: int, size: int) -> str:
    return sha256_of_weights(_network(argument, pretrained, "", outputs, size)[0])


def _identity(argument: str, sha: str, settings: dict[str, Any]) -> str:
    return files.mixed(identity(sha, **{**settings, "outputs": settings["outputs"] or "timm's"}), model=argument)


def _network(argument: str, pretrained: bool, checkpoint: str, outputs: int, size: int) -> tuple[Any, Any]:
    """The model with its weights, and what timm says of it."""
    config = timm_library.config_of(argument)
    if outputs and pretrained and not checkpoint and outputs != config.num_classes:
        what = f"timm:{argument} has weights of {config.num_classes} classes, got outputs={outputs}"
        raise UsageError(f"{what}; name a checkpoint that has so many, or leave outputs out")
    if not (outputs or config.num_classes):
        raise UsageError(f"timm:{argument} has no classifier; use -e timm: for the encoder, or say outputs=")
    fixed = {"num_classes": outputs} if outputs else {}
    network, _ = timm_library.built(argument, size, pretrained and not checkpoint, **fixed)
    if checkpoint:
        path = Path(checkpoint).expanduser()
        loaded, _ = read(path)
        states = dict(checkpoints.dictionaries(loaded))
        averaged = next((name for name in ("state_dict_ema", "model_ema") if name in states), "")
        found = checkpoints.cleaned(states[averaged] if averaged else checkpoints.tensors(loaded))
        plain = {re.sub(r"^(module\.|_orig_mod\.|model\.)+", "", key): value.float() for key, value in found.items()}
        # beside the network, what adversarial training saved with it
        state = {key: value for key, value in plain.items() if not key.startswith(("attacker.", "normalizer."))}
        checkpoints.fit(network, state, re.compile(r"mask_token$"), f"{path} as {argument}")
    return network.eval(), config


def _transforms(network: Any, size: int) -> tuple[dict[str, Any], Any]:
    """timm's settings of a model's images, and its own transforms of an image that is a tensor."""
    from timm.data.config import resolve_data_config
    from timm.data.transforms_factory import create_transform

    given = {"input_size": (3, size, size)} if size else {}
    data = resolve_data_config(given, model=network)
    return data, create_transform(**data, is_training=False)


def _encoder(network: Any, config: Any, edge: int, mean: Any, std: Any, about: dict[str, Any]) -> Encoder | None:
    """The encoder below the classifier, which shares its weights; None where timm has no features of it."""
    if not hasattr(network, "forward_intermediates") or not levels(network):
        return None
    patch = int(levels(network)[-1]["reduction"])
    native = config.input_size[-2:]
    return TimmEncoder(network, patch, size=edge, native=native, mean=mean, std=std, about=about).eval()


TRAITS = ModelTraits(fingerprint=fingerprint, predicts=predicts, features=features)
