"""Any timm model with features, by its timm name: ``timm:vit_small_patch14_dinov2.lvd142m(size=518)``."""

from functools import lru_cache
from typing import Any

from brittle import files
from brittle.errors import MissingError, UsageError, unknown
from brittle.types import Count, Encoder


@lru_cache(maxsize=1)
def timm(argument: str, /, *, size: Count = 0, pretrained: bool = True) -> Encoder:
    """A timm model without its classifier; mean, std, native size and licence come from timm.

    Args:
        argument: timm's name, with the tag of the weights after a dot.
        size: edge of the pictures it is used at; 0 for its native size. Position embeddings are interpolated.
        pretrained: load the published weights (from the hub's cache, or downloaded); false for random ones from seed 0.

    Raises:
        UsageError: timm has no such model, or none with features.
        MissingError: the weights are neither in the cache nor to be had.
    """
    import timm as library
    import torch

    from brittle.backbones import TimmEncoder

    name = argument.partition(".")[0]
    if not library.is_model(name):
        raise unknown("timm model", name, library.list_models())
    config = library.get_pretrained_cfg(argument)
    if config is None:
        raise unknown(f"weights of timm's {name} called", argument, library.list_pretrained(f"{name}.*"))
    network: Any
    options: dict[str, Any] = {"pretrained": pretrained, "num_classes": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            try:
                network = library.create_model(argument, dynamic_img_size=True, **options)
            except TypeError:  # not a vision transformer: takes any size as it is
                network = library.create_model(argument, **options)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise MissingError(
                f"timm:{argument}: its weights cannot be had ({reason}); run once with a network, or set HF_HOME to a folder that has them"
            ) from None
    if not hasattr(network, "forward_intermediates"):
        raise UsageError(
            f"timm:{argument} gives no intermediate features; choose a ViT, ResNet, ConvNeXt or another with forward_intermediates"
        )
    embed: Any = getattr(network, "patch_embed", None)
    patch = int(embed.patch_size[0]) if hasattr(embed, "patch_size") else int(network.feature_info[-1]["reduction"])
    about = {
        "sha256": _sha256(network),
        "licence": config.license or "unknown",
        "parameters": sum(p.numel() for p in network.parameters()),
        "source": f"timm:{argument}" if pretrained else f"timm:{argument}, random weights",
    }
    return TimmEncoder(network, patch, size=size or config.input_size[-1], mean=config.mean, std=config.std, about=about)


def fingerprint(argument: str, /, *, size: int = 0, pretrained: bool = True) -> str:
    """sha256 over the names and values of all weights."""
    return timm(argument, size=size, pretrained=pretrained).about["sha256"]


def _sha256(network: Any) -> str:
    parts = (key.encode() + value.cpu().contiguous().numpy().tobytes() for key, value in sorted(network.state_dict().items()))
    return files.sha256(b"".join(files.sha256(part).encode() for part in parts))
