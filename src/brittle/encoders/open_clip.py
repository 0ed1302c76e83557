"""The visual tower of an open_clip model: ``open_clip:ViT-B-32/laion2b_s34b_b79k``, or with a local file in place of
the tag."""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brittle.core import files
from brittle.core.errors import MissingError, UsageError, unknown
from brittle.core.traits import EncoderTraits
from brittle.encoders.parts.wrappers import (
    PaddedEncoder,
    TimmEncoder,
    described,
    levels,
    resampled,
    sha256_of_weights,
    spatial,
)
from brittle.types import Count, Encoder, Features


class TowerEncoder(PaddedEncoder):
    """open_clip's own ViT: ``pooled`` is the final-norm CLS token before the projection into the space shared with
    text, ``grid`` the final-norm patch tokens; positions are interpolated as open_clip does it (bicubic, antialiased),
    from the published grid."""

    prefix = 1

    def __init__(self, tower: nn.Module, dim: int, patch: int, **facts: Any) -> None:
        super().__init__(dim, patch, **facts)
        self.tower = tower

    def features(self, padded: Tensor) -> Features:
        tower: Any = self.tower
        rows, columns = padded.shape[-2] // self.patch, padded.shape[-1] // self.patch
        patches = tower.conv1(padded).flatten(2).transpose(1, 2)
        first, places = tower.positional_embedding[None, :1], tower.positional_embedding[None, 1:]
        cls = (tower.class_embedding + first).expand(len(patches), -1, -1)
        tokens = torch.cat([cls, patches + resampled(places, rows, columns)], 1)
        return self.spread(tower.ln_post(tower.transformer(tower.ln_pre(tokens))), padded)

    def blocks(self) -> Sequence[nn.Module]:
        tower: Any = self.tower
        return list(tower.transformer.resblocks)

    def spread(self, tokens: Tensor, padded: Tensor) -> Features:
        return Features(
            tokens[:, 0], spatial(tokens[:, 1:], padded.shape[-2] // self.patch, padded.shape[-1] // self.patch)
        )


class ResNetTower(PaddedEncoder):
    """open_clip's ResNets: ``grid`` is the last feature map before attention pooling, ``pooled`` its mean."""

    def __init__(self, tower: nn.Module, dim: int, **facts: Any) -> None:
        super().__init__(dim, 32, **facts)
        self.tower = tower

    def features(self, padded: Tensor) -> Features:
        tower: Any = self.tower
        grid = tower.layer4(tower.layer3(tower.layer2(tower.layer1(tower.stem(padded)))))
        return Features(grid.mean((2, 3)), grid)


def open_clip(argument: str, /, *, size: Count = 0, pretrained: bool = True) -> Encoder:
    """The visual tower of an open_clip model.

    Args:
        argument: MODEL/TAG as open_clip lists them, MODEL/FILE for a checkpoint (of the whole model, or of the tower
            alone), or hf-hub:ORG/NAME.
        size: edge of the images it is used at; 0 for its native size.
        pretrained: false for random weights from seed 0 (then MODEL alone is enough).

    Raises:
        UsageError: no such model or tag, a checkpoint that does not fit, or a tower of unknown structure.
        MissingError: open_clip is not installed, or the weights are neither in the cache nor downloadable.
    """
    library = _library(argument)
    model, path, config = _origin(argument, pretrained)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            network = library.create_model(model, load_weights=False, force_quick_gelu=bool(config.get("quick_gelu")))
        except (RuntimeError, OSError, ValueError) as error:
            raise UsageError(f"open_clip:{argument}: {' '.join(str(error).split())[:160]}") from None
    tower: Any = network.visual.requires_grad_(True)
    sha = _load(tower, path, argument) if path else sha256_of_weights(tower)
    known: dict[str, Any] = {**library.get_model_preprocess_cfg(network), **config}
    native = known.get("size", tower.image_size)
    source = f"open_clip:{argument}" if path else f"open_clip:{argument}, random weights"
    about = described(
        tower, sha256=sha, licence="unknown", source=source, fingerprint=files.mixed(sha, size=size, model=model)
    )
    facts = {
        "size": size or int(native if isinstance(native, int) else native[0]),
        "mean": known["mean"],
        "std": known["std"],
        "about": about,
    }
    return _encoder(tower, argument, facts).eval()


def fingerprint(argument: str, /, *, size: int = 0, pretrained: bool = True) -> str:
    """sha256 of the weights' file, mixed with the model's name; only a random tower is built."""
    _library(argument)
    model, path, _ = _origin(argument, pretrained)
    sha = files.sha256_of_file(path) if path else _random(argument)
    return files.mixed(sha, size=size, model=model)


@lru_cache(maxsize=16)
def _random(argument: str) -> str:
    return open_clip(argument, pretrained=False).about["sha256"]


def _encoder(tower: Any, argument: str, facts: dict[str, Any]) -> Encoder:
    if hasattr(tower, "trunk"):
        last = levels(tower.trunk)[-1]
        return TimmEncoder(tower.trunk, int(last["reduction"]), **facts)
    if hasattr(tower, "attnpool") and hasattr(tower, "layer4"):
        return ResNetTower(tower, tower.layer4[-1].bn3.num_features, **facts)
    if getattr(tower, "class_embedding", None) is not None and getattr(tower, "attn_pool", None) is None:
        patch: Any = tower.patch_size
        return TowerEncoder(
            tower, tower.class_embedding.shape[-1], int(patch if isinstance(patch, int) else patch[0]), **facts
        )
    raise UsageError(
        f"open_clip:{argument}: its visual tower ({type(tower).__name__}) has no CLS token or trunk; wrap it with "
        "py: instead"
    )


def _library(argument: str) -> Any:
    try:
        import open_clip as library  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise MissingError(f"open_clip:{argument} needs open_clip_torch; pip install 'brittle[clip]'") from None
    return library


def _origin(argument: str, pretrained: bool) -> tuple[str, Path | None, dict[str, Any]]:
    """Model's name, file of the weights (None for random ones), and what open_clip says of these weights."""
    library = _library(argument)
    if argument.startswith("hf-hub:"):
        return (argument, _hub(argument) if pretrained else None, {})
    model, _, tag = argument.partition("/")
    if model not in library.list_models():
        raise unknown("open_clip model", model, library.list_models())
    if not pretrained:
        return model, None, {}
    path = Path(tag).expanduser()
    if tag and path.is_file():
        return model, path, {}
    tags = library.list_pretrained_tags_by_model(model)
    if tag not in tags:
        hint = f"tags: {', '.join(tags)}" if tags else "it has none"
        raise MissingError(
            f"open_clip:{argument}: no file and no tag of {model} called {tag!r}; {hint}; or pretrained=false"
        )
    config = library.get_pretrained_cfg(model, tag)
    try:
        return model, Path(library.download_pretrained(config)), config
    except Exception as error:  # a missing network can raise anything
        reason = " ".join(str(error).split())[:120]
        raise MissingError(
            f"open_clip:{argument}: its weights could not be downloaded ({reason}); run once with a network, or "
            "give a file"
        ) from None


def _hub(argument: str) -> Path:
    from huggingface_hub import hf_hub_download

    reasons: list[str] = []
    for name in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
        try:
            return Path(hf_hub_download(argument.removeprefix("hf-hub:"), name))
        except (OSError, ValueError) as error:
            reasons.append(" ".join(str(error).split())[:80])
    raise MissingError(
        f"open_clip:{argument}: its weights could not be downloaded ({'; '.join(reasons)}); run once with a network"
    )


def _load(tower: nn.Module, path: Path, argument: str) -> str:
    """Load a checkpoint's tensors into the tower; returns the sha256 of the bytes they came from."""
    from brittle.encoders.parts.checkpoints import cleaned, fit, read, tensors

    loaded, sha = read(path)
    state = cleaned(tensors(loaded))
    state = {key.removeprefix("module."): value for key, value in state.items()}
    visual = {key.removeprefix("visual."): value for key, value in state.items() if key.startswith("visual.")} or state
    fit(tower, visual, re.compile(r"(?!)"), f"{path} as {argument.partition('/')[0]}")
    return sha


TRAITS = EncoderTraits(fingerprint=fingerprint)
