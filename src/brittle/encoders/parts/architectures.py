"""The architectures of published checkpoints: which one a file holds, its network, and what its authors did with
positions, mean and std."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from brittle.core.errors import UsageError, unknown
from brittle.encoders.parts.checkpoints import Candidate, State
from brittle.encoders.parts.wrappers import IMAGENET, resampled

NONE = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
CIFAR = ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261))
_NOTHING = re.compile(r"(?!)")
_HEADS = re.compile(r"(fc|head|normalize)\.|(mask_token|mean|std)$")


@dataclass(frozen=True)
class Architecture:
    """What is known of a published encoder.

    Args:
        make: the network; its keys are the authors' after ``rename``.
        patch: edge in pixels of a cell of its grid.
        size: native edge of its images.
        colours: mean and std of its inputs.
        licence: of the authors' own weights.
        extras: keys beside the encoder's own that its authors' files contain.
    """

    make: Callable[[], nn.Module]
    patch: int
    size: int
    colours: tuple[Sequence[float], Sequence[float]]
    licence: str
    extras: re.Pattern[str] = _NOTHING


# --- vision transformers ----------------------------------------------------------------------------------------------

VITS = {
    "t": (192, 12, 3),
    "s": (384, 12, 6),
    "b": (768, 12, 12),
    "l": (1024, 24, 16),
    "h": (1280, 32, 16),
    "g": (1536, 40, 24),
}
"""Width, depth and heads by the letter in a name."""


class PublishedViT(VisionTransformer):
    """A ViT whose keys are its authors', and whose position embeddings are interpolated once, from the published grid,
    as they do it.

    Args:
        size: edge of the images that the published position embeddings are for.
        registers: tokens without a position, after CLS.
        scaled: whether the blocks have LayerScale.
        gated: whether the MLPs are SwiGLU (DINOv2's giant).
        offset, antialias: of the interpolation, see ``resampled``.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        patch: int,
        size: int,
        *,
        registers: int = 0,
        scaled: bool = False,
        gated: bool = False,
        offset: float = 0.0,
        antialias: bool = False,
    ) -> None:
        width, depth, heads = shape
        options: dict[str, Any] = {
            "num_classes": 0,
            "reg_tokens": registers,
            "dynamic_img_size": True,
            "init_values": 1e-5 if scaled else None,
        }
        if gated:
            from timm.layers.mlp import SwiGLUPacked

            hidden = (int(width * 4 * 2 / 3) + 7) // 8 * 8
            options |= {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU, "mlp_ratio": (2 * hidden + 0.5) / width}
        super().__init__(img_size=size, patch_size=patch, embed_dim=width, depth=depth, num_heads=heads, **options)
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + (size // patch) ** 2, width))
        self.offset, self.antialias = offset, antialias

    def _pos_embed(self, x: Tensor) -> Tensor:
        count, rows, columns, _ = x.shape
        assert self.cls_token is not None
        assert self.pos_embed is not None
        places = resampled(self.pos_embed[:, 1:], rows, columns, offset=self.offset, antialias=self.antialias)
        first = [(self.cls_token + self.pos_embed[:, :1]).expand(count, -1, -1)]
        if self.reg_token is not None:
            first.append(self.reg_token.expand(count, -1, -1))
        return torch.cat([*first, x.flatten(1, 2) + places], 1)


def _vits() -> dict[str, Architecture]:
    architectures: dict[str, Architecture] = {}
    meta: dict[str, Any] = {"colours": IMAGENET, "licence": "Apache-2.0"}
    for letter in "tsb":
        for patch in (16, 8):
            make = partial(PublishedViT, VITS[letter], patch, 224, offset=0.1)
            architectures[f"dino_vit{letter}{patch}"] = Architecture(
                make, patch, 224, extras=re.compile(r"(head|fc)\."), **meta
            )
    for letter in "sblg":
        for registers in (0, 4):
            how: dict[str, Any] = {"antialias": True} if registers else {"offset": 0.1}
            make = partial(
                PublishedViT, VITS[letter], 14, 518, registers=registers, scaled=True, gated=letter == "g", **how
            )
            name = f"dinov2_vit{letter}14{'_reg' if registers else ''}"
            architectures[name] = Architecture(make, 14, 518, extras=re.compile(r"mask_token$|head\."), **meta)
    restricted: dict[str, Any] = {"colours": IMAGENET, "licence": "CC-BY-NC-4.0"}
    for letter, patch in (("b", 16), ("l", 16), ("h", 14)):
        make = partial(PublishedViT, VITS[letter], patch, 224)
        architectures[f"mae_vit{letter}{patch}"] = Architecture(
            make, patch, 224, extras=re.compile(r"mask_token$|decoder_"), **restricted
        )
    for letter, heads in (("s", 12), ("b", 12)):  # MoCo v3's small one has 12 heads
        make = partial(PublishedViT, (*VITS[letter][:2], heads), 16, 224)
        architectures[f"mocov3_vit{letter}16"] = Architecture(make, 16, 224, extras=re.compile(r"head\."), **restricted)
    return architectures


# --- ResNets ----------------------------------------------------------------------------------------------------------

RESNETS: dict[tuple[str, tuple[int, ...], int], str] = {
    ("conv2", (2, 2, 2, 2), 64): "resnet18",
    ("conv2", (3, 4, 6, 3), 64): "resnet34",
    ("conv3", (3, 4, 6, 3), 64): "resnet50",
    ("conv3", (3, 4, 23, 3), 64): "resnet101",
    ("conv3", (3, 8, 36, 3), 64): "resnet152",
    ("conv3", (3, 4, 6, 3), 128): "wide_resnet50_2",
    ("conv3", (3, 4, 23, 3), 128): "wide_resnet101_2",
}
"""Names by the last convolution of a block, the blocks in each layer, and the width of the first block's first
convolution."""


def _resnet(name: str, padding: int = -1) -> nn.Module:
    """timm's ResNet; with ``padding`` >= 0 the stem for small images: 3x3, stride 1, no pooling."""
    import timm

    network: Any = timm.create_model(name, pretrained=False, num_classes=0)
    if padding >= 0:
        network.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=padding, bias=False)
        network.maxpool = nn.Identity()
    return network


def _resnets() -> dict[str, Architecture]:
    architectures: dict[str, Architecture] = {}
    for name in RESNETS.values():
        plain = Architecture(partial(_resnet, name), 32, 224, IMAGENET, "BSD-3-Clause", _HEADS)
        architectures[name] = plain
        if name.startswith("resnet"):
            architectures[f"simclr_{name}"] = replace(plain, colours=NONE, licence="Apache-2.0")
            architectures[f"solo_{name}"] = Architecture(partial(_resnet, name, 2), 8, 32, CIFAR, "MIT", _HEADS)
            architectures[f"cifar_{name}"] = Architecture(partial(_resnet, name, 1), 8, 32, CIFAR, "unknown", _HEADS)
    return architectures


ARCHITECTURES = {**_vits(), **_resnets()}
"""Every published architecture by name. ``solo_`` ResNets have solo-learn's stem (padding 2), ``cifar_`` the usual one
(padding 1), ``simclr_`` take pixels in [0, 1] without mean and std."""


# --- which one is it? -------------------------------------------------------------------------------------------------


def guess(candidate: Candidate, state: State) -> list[str]:
    """The architectures that a checkpoint's keys and shapes, and their place in it, allow: one where that is certain.

    Args:
        state: the encoder's own tensors, renamed.
    """
    if any(key.startswith(("layer1.", "layer4.")) for key in state):
        return _guess_resnet(candidate, state)
    shape = next(
        (
            state[key].shape
            for key in ("norm.weight", "cls_token", "pos_embed", "blocks.0.norm1.weight")
            if key in state
        ),
        (0,),
    )
    letter = next((letter for letter, (width, _, _) in VITS.items() if width == shape[-1]), "")
    if any(key.startswith(("head.", "fc_norm.")) for key in state) and not re.search(
        "(base|momentum)_encoder", candidate.place
    ):
        return []  # a fine-tuned classifier, with its own mean and std
    kernel = state.get("patch_embed.proj.weight")
    patches = (str(kernel.shape[-1]),) if kernel is not None else ("8", "14", "16")
    if any(key.endswith(("ls1.gamma", "ls2.gamma")) for key in state) or "reg_token" in state:
        names = [f"dinov2_vit{letter}{patch}{'_reg' if 'reg_token' in state else ''}" for patch in patches]
    else:
        place = candidate.place.partition(":")
        if "base_encoder" in candidate.place or "momentum_encoder" in candidate.place:
            family = ("mocov3",)
        elif any(key.startswith("decoder_") for key in state) or place[0] == "model":
            family = ("mae",)
        else:
            family = ("dino",)
        names = [f"{name}_vit{letter}{patch}" for name in family for patch in patches]
    return [name for name in names if name in ARCHITECTURES]


def _guess_resnet(candidate: Candidate, state: State) -> list[str]:
    counts = tuple(
        len({match[1] for key in state for match in [re.match(rf"layer{level}\.(\d+)\.", key)] if match})
        for level in (1, 2, 3, 4)
    )
    last = "conv3" if any(key.endswith("conv3.weight") for key in state) else "conv2"
    first = state.get("layer1.0.conv1.weight")
    name = RESNETS.get((last, counts, first.shape[0] if first is not None else 64))
    if name is None:
        return []
    stem = state.get("conv1.weight")
    if stem is not None and stem.shape[-1] == 3:
        if candidate.place.endswith(("backbone.", "encoder.")) and not candidate.place.endswith("base_encoder."):
            return [f"solo_{name}"]
        return [f"cifar_{name}"] if candidate.place.endswith("f.") else [f"solo_{name}", f"cifar_{name}"]
    wrapper, _, prefix = candidate.place.partition(":")
    projects = "fc.0.weight" in state and "fc.2.weight" in state
    if wrapper == "resnet" or prefix == "resnet." or (prefix.endswith("backbone.") and projects):
        return [f"simclr_{name}"]
    if wrapper == "state_dict" and not prefix and set(candidate.keys) == {"state_dict"}:
        # torchvision's weights and SimCLR's have the same keys but different mean and std
        return [name, f"simclr_{name}"]
    return [name]


def renamed(state: State) -> State:
    """Tensors under the keys of our networks: registers, gated MLPs, and blocks that were saved in chunks."""
    changed: State = {}
    for key, value in state.items():
        key = re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", key)
        key = re.sub(r"\.mlp\.w12\.", ".mlp.fc1.", key)
        key = re.sub(r"\.mlp\.w3\.", ".mlp.fc2.", key)
        changed["reg_token" if key == "register_tokens" else key] = value
    return changed


def architecture(name: str, candidate: Candidate, state: State, path: object) -> tuple[str, Architecture]:
    """The architecture called ``name``, or the one that the checkpoint must be.

    Raises:
        UsageError: no such name, or the checkpoint allows none or several: the candidates.
    """
    if name:
        if name not in ARCHITECTURES:
            raise unknown("published architecture", name, ARCHITECTURES)
        return name, ARCHITECTURES[name]
    names = guess(candidate, state)
    if len(names) == 1:
        return names[0], ARCHITECTURES[names[0]]
    candidates = names or sorted(ARCHITECTURES)
    what = "could be one of several" if names else "is of no architecture known for certain"
    timm = "" if names else "; if timm saved it, timm:NAME(checkpoint=FILE) reads it"
    raise UsageError(f"{path}: {what}; choose with arch=, one of {', '.join(candidates)}{timm}")
