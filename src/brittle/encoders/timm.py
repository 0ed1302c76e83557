"""Any timm model with features, by its timm name: ``timm:vit_small_patch14_dinov2.lvd142m(size=518)``."""

from functools import lru_cache
from typing import Any

from brittle.core import files
from brittle.core.errors import MissingError, UsageError, unknown
from brittle.core.traits import EncoderTraits
from brittle.types import Count, Encoder


@lru_cache(maxsize=1)
def timm(argument: str, /, *, size: Count = 0, pretrained: bool = True, layer: int = -1) -> Encoder:
    """A timm model without its classifier; mean, std, native size and licence come from timm.

    Args:
        argument: timm's name, with the tag of the weights after a dot.
        size: edge of the images it is used at; 0 for its native size. Position embeddings are interpolated.
        pretrained: load the published weights (from the hub's cache, or downloaded); false for random ones from seed 0.
        layer: which of timm's feature levels (the blocks of a ViT, the stages of a CNN), counted as Python does; -1 is
            the last.

    Raises:
        UsageError: timm has no such model, or none with features, or no such layer.
        MissingError: the weights are neither in the cache nor downloadable.
    """
    import timm as library

    from brittle.encoders.parts.wrappers import TimmEncoder, described, levels, sha256_of_weights

    name = argument.partition(".")[0]
    if not library.is_model(name):
        raise unknown("timm model", name, library.list_models())
    config = library.get_pretrained_cfg(argument)
    if config is None:
        raise unknown(f"weights of timm's {name} called", argument, library.list_pretrained(f"{name}.*"))
    network = _network(argument, size, pretrained)
    if not hasattr(network, "forward_intermediates") or not levels(network):
        raise UsageError(
            f"timm:{argument} gives no intermediate features; choose a ViT, ResNet, ConvNeXt or another with "
            "forward_intermediates"
        )
    count = len(levels(network))
    if not -count <= layer < count:
        raise UsageError(f"timm:{argument} has layers -{count} to {count - 1}, got layer={layer}")
    sha = sha256_of_weights(network)
    about = described(
        network,
        sha256=sha,
        licence=config.license or "unknown",
        source=f"timm:{argument}" if pretrained else f"timm:{argument}, random weights",
        fingerprint=_identity(sha, size, layer),
    )
    native = config.input_size[-1]
    patch = int(levels(network)[layer]["reduction"])
    return TimmEncoder(network, patch, size=size or native, mean=config.mean, std=config.std, about=about, layer=layer)


def fingerprint(argument: str, /, *, size: int = 0, pretrained: bool = True, layer: int = -1) -> str:
    """sha256 over the names and values of all weights, mixed with size and layer where they are set."""
    return _identity(_sha256(argument, pretrained), size, layer)


@lru_cache(maxsize=64)
def _sha256(argument: str, pretrained: bool) -> str:
    return timm(argument, size=0, pretrained=pretrained).about["sha256"]


def _identity(sha: str, size: int, layer: int) -> str:
    return files.mixed(sha, size=size, layer=str(layer) if layer != -1 else "")


def _network(argument: str, size: int, pretrained: bool) -> Any:
    """The model, built for any image size where it supports that, else for ``size``."""
    import timm as library
    import torch

    variants: list[dict[str, Any]] = [{"dynamic_img_size": True}, {"img_size": size} if size else {}, {}]
    for number, options in enumerate(variants):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                return library.create_model(argument, pretrained=pretrained, num_classes=0, **options)
            except TypeError:  # takes no such option
                if number + 1 == len(variants):
                    raise
            except (OSError, RuntimeError) as error:
                reason = " ".join(str(error).split())[:160]
                raise MissingError(
                    f"timm:{argument}: its weights could not be downloaded ({reason}); run once with a network, or "
                    "set HF_HOME to where they are"
                ) from None
    return None


TRAITS = EncoderTraits(fingerprint=fingerprint)
