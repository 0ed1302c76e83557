"""Projectors beside published encoders: the MLPs that training put on top of the pooled feature, recognised by their
place and their layers."""

import re
from typing import Any, NamedTuple

from torch import nn

from brittle.encoders.parts.checkpoints import State, cleaned, dictionaries, shape


class Layout(NamedTuple):
    """How a method saves its projector.

    Args:
        encoder: where the encoder stands.
        projector: where the projector then does.
        layers: which it may have: L linear, B batch norm, a the activation, which has no keys and so is a gap in their
            numbers.
        activation: the method's.
    """

    encoder: str
    projector: str
    layers: str
    activation: type[nn.Module]


_LAYOUTS = (
    # MoCo v3 (Chen, Xie and He 2021), ViT and ResNet
    Layout(r"(.*:.*(?:base|momentum)_encoder\.)", r"\1head.", "LBaLBaLB", nn.ReLU),
    Layout(r"(.*:.*(?:base|momentum)_encoder\.)", r"\1fc.", "LBaLB", nn.ReLU),
    # SimSiam (Chen and He 2021)
    Layout(r"(.*:(?:module\.)?encoder\.)", r"\1fc.", "LBaLBaLB", nn.ReLU),
    # MoCo v2 (Chen, Fan et al. 2020)
    Layout(r"(.*:(?:module\.)?encoder_[qk]\.)", r"\1fc.", "LaL", nn.ReLU),
    # SimCLR (Chen, Kornblith et al. 2020): in place of a ResNet's classifier; as f and g; SimCLRv2 as converted from
    # TensorFlow
    Layout(r"(.*:(?:module\.)?backbone\.)", r"\1fc.", "LaL", nn.ReLU),
    Layout(r"(.*:)f\.", r"\1g.", "LaL|LBaL", nn.ReLU),
    Layout(r"resnet:", "head:layers.", "LBaLBaLB", nn.ReLU),
    # solo-learn; not LBaLBaL, where VICReg and Barlow Twins have a ReLU but VIbCReg a GELU, and no key tells them
    # apart
    Layout(r"(.*:(?:momentum_)?)(?:backbone|encoder)\.", r"\1projector.", "LaL|LBaL|LBaLB|LBaLBaLB", nn.ReLU),
    # DINO (Caron et al. 2021) and DINOv2 (Oquab et al. 2023): the head up to its bottleneck, the input of the
    # prototypes
    Layout(r"(.*:(?:module\.|momentum_|teacher\.|student\.)?)backbone\.", r"\1head.mlp.", "(La)+L|(LBa)+L", nn.GELU),
    Layout(r"(.*:(?:module\.|teacher\.|student\.)?)backbone\.", r"\1dino_head.mlp.", "(La)+L|(LBa)+L", nn.GELU),
)
_HEADS = re.compile(r"(.*[.:])?(\w*head|\w*projector|fc|g)[.:]")
"""Keys that look as if they were a projector's."""


def projector(loaded: Any, place: str, width: int) -> tuple[nn.Module | None, str]:
    """The projector of the encoder at ``place`` of a checkpoint, [B, width] to [B, P], in evaluation mode; None where
    none is understood exactly. With it a description: where it stands, its widths and its activation, or why it was not
    used; empty where the checkpoint has none.

    Args:
        loaded: what the checkpoint holds.
        place: of the encoder, as ``checkpoints.find`` gives it.
        width: of its pooled feature.
    """
    states = dict(dictionaries(loaded))
    known = {
        match.expand(layout.projector): layout
        for layout in _LAYOUTS
        for match in [re.fullmatch(layout.encoder, place)]
        if match
    }
    projectors: dict[str, nn.Module] = {}
    for where, layout in known.items():
        name, _, prefix = where.partition(":")
        state = {key[len(prefix) :]: value for key, value in states.get(name, {}).items() if key.startswith(prefix)}
        network = _chain(cleaned(state), layout, width)
        if network is not None:
            widths = [width, *(layer.out_features for layer in network if isinstance(layer, nn.Linear))]
            projectors[f"{where} {'-'.join(map(str, widths))} {layout.activation.__name__}"] = network
    if len(projectors) == 1:
        return next((network, what) for what, network in projectors.items())
    if projectors:
        return None, f"several would do: {', '.join(projectors)}"
    names = dict.fromkeys(where.partition(":")[0] for where in (place, *known))
    weights = (
        (name, key, value) for name in names for key, value in states.get(name, {}).items() if key.endswith("weight")
    )
    heads = [f"{key} {shape(value)}" for name, key, value in weights if _HEADS.match(f"{name}:{key}")]
    return None, f"found, but none known: {', '.join(heads[:6])}" if heads else ""


def _chain(state: State, layout: Layout, width: int) -> nn.Sequential | None:
    """The layers with these tensors in them, if kinds and order are the layout's, the widths match and no tensor is
    left over."""
    parts: dict[int, State] = {}
    for key, value in state.items():
        match = re.fullmatch(r"(\d+)\.(\w+)", key)
        if match is None:
            return None
        parts.setdefault(int(match[1]), {})[match[2]] = value
    if not parts or max(parts) > 2 * len(parts):  # more gaps than any chain has; or a number meant to fill the memory
        return None
    places = [parts.get(i, {}) for i in range(max(parts) + 1)]
    letters = "".join(map(_letter, places))
    if not re.fullmatch(layout.layers, letters):
        return None
    network = nn.Sequential()
    for letter, part in zip(letters, places):
        if letter == "L":
            network.append(nn.Linear(width, len(part["weight"]), bias="bias" in part, device="meta"))
            width = len(part["weight"])
        else:
            network.append(layout.activation() if letter == "a" else _norm(width, part))
    try:
        network.load_state_dict(state, strict=True, assign=True)
    except RuntimeError:  # another shape, or a tensor too many
        return None
    return network.eval()


def _letter(part: State) -> str:
    """The layer that has these tensors: L, B, a, or ? for any other."""
    if not part:
        return "a"
    if "running_mean" in part:
        return "B"
    return "L" if "weight" in part and part["weight"].dim() == 2 else "?"


def _norm(width: int, part: State) -> nn.BatchNorm1d:
    """A batch norm of that width, with a scale and a shift only where there are tensors for them."""
    norm = nn.BatchNorm1d(width, device="meta")
    for name in ("weight", "bias"):
        if name not in part:
            norm.register_parameter(name, None)
    return norm
