"""The visual tower of an open_clip model: ``open_clip:ViT-B-32/laion2b_s34b_b79k``, or with a local file in place of
the tag."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from brittle.core import files
from brittle.core.errors import BrittleError, MissingError, UnreachableError, UsageError, unknown
from brittle.core.installed import needs
from brittle.core.traits import EncoderTraits
from brittle.encoders.parts import configuration, hub
from brittle.encoders.parts.checkpoints import cleaned, fit, tensors
from brittle.encoders.parts.timm_network import TimmEncoder
from brittle.encoders.parts.wrappers import (
    PaddedEncoder,
    Pooled,
    Size,
    bounded,
    described,
    levels,
    resampled,
    sha256_of_weights,
    spatial,
)
from brittle.types import Encoder, Features, weight_files

HUB, CONFIG = "hf-hub:", "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Mean and std of OpenAI's CLIP, which open_clip takes where nothing else is said."""


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

    def final_norm(self) -> nn.Module | None:
        return self.tower.ln_post  # type: ignore[return-value]

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


def open_clip(argument: str, /, *, size: Size = 0, pretrained: bool = True, pooled: Pooled = "tokens") -> Encoder:
    """The visual tower of an open_clip model.

    Args:
        argument: MODEL/TAG as open_clip lists them, MODEL/FILE for a checkpoint (of the whole model, or of the tower
            alone), or hf-hub:ORG/NAME.
        size: edge of the images it is used at; 0 for its native size.
        pretrained: false for random weights from seed 0 (then MODEL alone is enough).
        pooled: ``tokens`` for the final-norm CLS token or the mean of the grid, ``native`` for what a tower of timm
            pools itself, such as SigLIP's by attention.

    Raises:
        UsageError: no such model or tag, a configuration out of bounds, a checkpoint that does not fit, or a tower of
            unknown structure.
        MissingError: open_clip is not installed, or the weights are neither in the cache nor downloadable.
    """
    made = _origin(argument, pretrained)
    tower = _tower(made, argument)
    sha = _load(tower, made.path, argument) if made.path else sha256_of_weights(tower)
    configuration.colours(f"open_clip:{argument}", made.mean, made.std)
    about = described(
        tower,
        sha256=sha,
        licence="unknown",
        source=f"open_clip:{argument}" if made.path else f"open_clip:{argument}, random weights",
        fingerprint=_identity(made, sha, size, pooled),
    )
    height, width = (made.size, made.size) if isinstance(made.size, int) else made.size
    if size and hasattr(tower, "trunk") and hasattr(tower.trunk, "set_input_size"):
        tower.trunk.set_input_size(img_size=(size, size))
        height = width = size
    facts = {"size": size or width, "native": (height, width), "mean": made.mean, "std": made.std, "about": about}
    return _encoder(tower, argument, facts, pooled).eval()


def fingerprint(argument: str, /, *, size: int = 0, pretrained: bool = True, pooled: str = "tokens") -> str:
    """sha256 of the weights' file, mixed with what decides how they are used; only a random tower is built."""
    made = _origin(argument, pretrained)
    sha = weight_files.sha256_of(made.path) if made.path else _random(argument)
    return _identity(made, sha, size, pooled)


def foreign(argument: str, /, **_settings: Any) -> str:
    """A model of somebody on the hub that is not in the cache would be fetched."""
    return hub.foreign(argument.removeprefix(HUB), CONFIG) if argument.startswith(HUB) else ""


@lru_cache(maxsize=16)
def _random(argument: str) -> str:
    return sha256_of_weights(_tower(_origin(argument, False), argument))


def _identity(made: "_Origin", sha: str, size: int, pooled: str) -> str:
    plain = (made.mean, made.std, made.quick) == (*CLIP, False)
    uses = "" if plain else files.sha256(f"{list(made.mean)} {list(made.std)} {made.quick}".encode())
    vision = made.vision
    edges = [vision.get(key) for key in ("image_size", "patch_size")]
    uneven = all(isinstance(edge, int) and edge > 0 for edge in edges) and edges[0] % edges[1]  # type: ignore[operator]
    custom = files.sha256(json.dumps([made.width, vision], sort_keys=True).encode()) if made.hub else ""
    changed = {"pooled": "" if pooled == "tokens" else pooled, "edges": "as published" if uneven else ""}
    return files.mixed(sha, size=size, model=made.model, uses=uses, custom=custom, **changed)


def _tower(made: "_Origin", argument: str) -> Any:
    """The visual tower with random weights from seed 0. Nothing but the tower's own settings is taken from a
    configuration: its text tower could ask for more."""
    import open_clip.model as library  # pyright: ignore[reportMissingTypeStubs]
    from timm import is_model

    build: Any = library._build_vision_tower  # noqa: SLF001  # pyright: ignore
    name = f"open_clip:{argument}"
    known = {field.name for field in fields(library.CLIPVisionCfg)}
    vision: dict[str, Any] = {key: value for key, value in made.vision.items() if key in known}
    vision["timm_model_pretrained"] = False
    for key, value in {"embed_dim": made.width, **vision}.items():
        configuration.refuse_sizes(key, value, name)
    trunk = vision.get("timm_model_name")
    if trunk and not is_model(str(trunk)):
        raise UsageError(f"{name}: its tower is {str(trunk)[:60]!r}, which is no model of timm's own")
    try:
        with torch.device("meta"):
            bounded(build(made.width, library.CLIPVisionCfg(**vision), made.quick), name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return build(made.width, library.CLIPVisionCfg(**vision), made.quick).requires_grad_(True)
    except BrittleError:
        raise
    except Exception as error:  # values that the library makes no sense of
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise UsageError(f"{name}: its configuration makes no tower ({why})") from None


def _encoder(tower: Any, argument: str, facts: dict[str, Any], pooled: Pooled) -> Encoder:
    if hasattr(tower, "trunk"):
        last = levels(tower.trunk)[-1]
        return TimmEncoder(tower.trunk, int(last["reduction"]), pooled=pooled, **facts)
    if pooled == "native":
        raise UsageError(f"open_clip:{argument} pools by its CLS token or beyond its grid's width; leave pooled out")
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
        raise MissingError(f"open_clip:{argument} {needs('open_clip_torch')}") from None
    return library


class _Origin(NamedTuple):
    """What open_clip says of a model: its name, the file of the weights (None for random ones), the tower's width and
    settings, whether it has QuickGELU, and size, mean and std of its images."""

    model: str
    path: Path | None
    width: int
    vision: Mapping[str, Any]
    quick: bool
    size: Any
    mean: Any
    std: Any

    @property
    def hub(self) -> bool:
        """Whether its configuration came with the weights."""
        return self.model.startswith(HUB)


def _origin(argument: str, pretrained: bool) -> _Origin:
    library = _library(argument)
    model, _, tag = (argument, "", "") if argument.startswith(HUB) else argument.partition("/")
    if not model:
        raise UsageError("open_clip needs the name of a model; write open_clip:MODEL/TAG or open_clip:MODEL/FILE")
    if argument.startswith(HUB):
        label, repository = f"open_clip:{argument}", argument.removeprefix(HUB)
        config = configuration.read(hub.fetched(label, repository, CONFIG))
        whole, own = config.get("model_cfg"), config.get("preprocess_cfg") or {}
        path = hub.fetched(label, repository, *WEIGHTS) if pretrained else None
    else:
        if model not in library.list_models():
            raise unknown("open_clip model", model, library.list_models())
        whole = library.get_model_config(model)
        path, own = _weights(library, argument, model, tag, pretrained)
    if not isinstance(whole, dict) or not isinstance(whole.get("vision_cfg"), dict) or not isinstance(own, dict):
        raise UsageError(f"open_clip:{argument}: its configuration has no model_cfg with a vision_cfg")
    vision: dict[str, Any] = whole["vision_cfg"]
    size = own.get("size") or vision.get("image_size") or 224
    edges = size if isinstance(size, (list, tuple)) and len(size) == 2 else (size, size)
    if not all(isinstance(edge, int) and 0 < edge <= 8192 for edge in edges):
        raise UsageError(f"open_clip:{argument}: its images' size is {str(size)[:40]}; up to 8192 pixels are taken")
    quick = bool(whole.get("quick_gelu") or own.get("quick_gelu"))
    mean, std = (own.get(key) or plain for key, plain in zip(("mean", "std"), CLIP))
    width = whole.get("embed_dim")
    return _Origin(model, path, width, vision, quick, tuple(edges), mean, std)  # type: ignore[arg-type]


def _weights(library: Any, argument: str, model: str, tag: str, pretrained: bool) -> tuple[Path | None, dict[str, Any]]:
    """File of a built-in model's weights (None for random ones), and what open_clip says of them."""
    tags = library.list_pretrained_tags_by_model(model)
    path = Path(tag).expanduser()
    if pretrained and tag and path.is_file():
        # the file says nothing of its colours, but every one of this model's may have the same
        said = [library.get_pretrained_cfg(model, each) for each in tags]
        shared = {key: {tuple(each[key]) for each in said if key in each} for key in ("mean", "std")}
        return path, {key: values.pop() for key, values in shared.items() if len(values) == 1}
    if not pretrained:
        return None, library.get_pretrained_cfg(model, tag) if tag in tags else {}
    if tag not in tags:
        hint = f"tags: {', '.join(tags)}" if tags else "it has none"
        raise MissingError(
            f"open_clip:{argument}: no file and no tag of {model} called {tag!r}; {hint}; or pretrained=false"
        )
    config = library.get_pretrained_cfg(model, tag)
    try:
        with hub.asked():
            return Path(library.download_pretrained(config)), config
    except Exception as error:  # a missing network can raise anything
        why = f"its weights could not be downloaded ({hub.reason(error)})"
        raise UnreachableError(f"open_clip:{argument}: {why}; run once with a network, or give a file") from None


def _load(tower: nn.Module, path: Path, argument: str) -> str:
    """Load a checkpoint's tensors into the tower; returns the sha256 of the bytes they came from."""
    loaded, sha = weight_files.read(path)
    state = cleaned(tensors(loaded))
    state = {key.removeprefix("module."): value for key, value in state.items()}
    visual = {key.removeprefix("visual."): value for key, value in state.items() if key.startswith("visual.")} or state
    fit(tower, visual, re.compile(r"(?!)"), f"{path} as {argument.partition('/')[0]}")
    return sha


TRAITS = EncoderTraits(fingerprint=fingerprint, foreign=foreign)
