"""A vision encoder of transformers, by its name on the hub or a folder: ``hf:facebook/dinov2-small(size=224)``.

Only transformers' own code is run (no remote code), and only tensors are unpickled from weights.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.core.traits import EncoderTraits
from brittle.encoders.parts import configuration, hub, published
from brittle.encoders.parts.wrappers import PaddedEncoder, Pooled, Size, described, spatial
from brittle.types import Encoder, Features


@dataclass(frozen=True)
class _Family:
    """How transformers lays out a model type: its class, tokens before the patches (besides registers), the final norm
    not yet applied to its last hidden state, whether it must be asked to interpolate positions, options, pooler."""

    model: str
    prefix: int = 1
    norm: str = ""
    asks: bool = True
    options: tuple[tuple[str, Any], ...] = ()
    pools: bool = False


_POOLERLESS = (("add_pooling_layer", False),)
FAMILIES = {
    "dinov2": _Family("Dinov2Model", asks=False),
    "dinov2_with_registers": _Family("Dinov2WithRegistersModel", asks=False),
    "dinov3_vit": _Family("DINOv3ViTModel", asks=False),
    "vit": _Family("ViTModel", options=_POOLERLESS),
    "deit": _Family("DeiTModel", prefix=2, options=_POOLERLESS),
    "clip": _Family("CLIPVisionModel", norm="post_layernorm"),
    "clip_vision_model": _Family("CLIPVisionModel", norm="post_layernorm"),
    "siglip": _Family("SiglipVisionModel", prefix=0),
    "siglip_vision_model": _Family("SiglipVisionModel", prefix=0),
    "vit_msn": _Family("ViTMSNModel"),
    "beit": _Family("BeitModel", norm="pooler.layernorm"),
    "ijepa": _Family("IJepaModel", prefix=0, options=_POOLERLESS),
    "resnet": _Family("ResNetModel", asks=False),
    "convnext": _Family("ConvNextModel", asks=False),
    "convnextv2": _Family("ConvNextV2Model", asks=False),
}
"""transformers' model types that are known here."""

NORMS = ("layernorm", "norm", "post_layernorm", "vision_model.post_layernorm")
_COMPUTED = re.compile(r"mask_token|position_ids|relative_position_index|num_batches_tracked|inv_freq")
"""Keys of what is masked in training or can be computed."""
_UNUSED = re.compile(
    r"^(\w+\.)?(pooler\.dense|head|\w*classifier|lm_head|decoder|text_model|\w*projection|logit_\w+)\b|"
    + _COMPUTED.pattern
)
"""Keys that belong to no feature read here: heads, poolers, the text side, and what can be computed."""


class TransformersEncoder(PaddedEncoder):
    """``pooled`` is the final-norm CLS token, or the mean of the grid where there is none; ``grid`` the final-norm
    patch tokens, or the last feature map of a CNN. Poolers of the model are used where ``pooled`` is ``native``,
    projections never."""

    def __init__(
        self, network: nn.Module, family: _Family, patch: int, dim: int, *, pooled: Pooled = "tokens", **facts: Any
    ) -> None:
        super().__init__(dim, patch, **facts)
        self.network, self.pooling = network, pooled
        config: Any = network.config
        self.cls = family.prefix
        self.prefix = family.prefix + int(getattr(config, "num_register_tokens", 0) or 0)
        self.options = {"interpolate_pos_encoding": True} if family.asks else {}
        # BEiT's is in its pooler, if it pools
        late = bool(family.norm) and (config.model_type != "beit" or config.use_mean_pooling)
        self.norm_path = family.norm if late else ""

    def features(self, padded: Tensor) -> Features:
        output = self.network(pixel_values=padded, **self.options)
        last = output.last_hidden_state
        if self.norm_path and last.dim() < 4:
            last = self.network.get_submodule(self.norm_path)(last)
        found = self.spread(last, padded)
        if self.pooling == "tokens":
            return found
        return found._replace(pooled=self.pooled_by_itself(getattr(output, "pooler_output", None)))

    def blocks(self) -> Sequence[nn.Module]:
        # the outermost list
        return next(list(module) for module in self.network.modules() if isinstance(module, nn.ModuleList))

    def final_norm(self) -> nn.Module | None:  # most families have it in the last hidden state
        names = dict(self.network.named_modules(remove_duplicate=False))
        return next((names[path] for path in (self.norm_path or None, *NORMS) if path in names), None)

    def spread(self, tokens: Tensor, padded: Tensor) -> Features:
        if tokens.dim() == 4:
            return Features(tokens.mean((2, 3)), tokens)
        grid = spatial(tokens[:, self.prefix :], padded.shape[-2] // self.patch, padded.shape[-1] // self.patch)
        return Features(tokens[:, 0] if self.cls else grid.mean((2, 3)), grid)


def hf(
    argument: str, /, *, revision: str = "", size: Size = 0, pretrained: bool = True, pooled: Pooled = "tokens"
) -> Encoder:
    """A vision encoder of transformers.

    Args:
        argument: name on the hub (ORG/NAME), or a folder with config.json and the weights.
        revision: commit, tag or branch on the hub, so that the weights are pinned; empty for its main branch.
        size: edge of the images it is used at; 0 for what its preprocessor or its configuration says.
        pretrained: false for random weights from seed 0 in the same architecture.
        pooled: ``tokens`` for the final-norm CLS token or the mean of the grid, ``native`` for what the model's own
            pooler makes, such as SigLIP's by attention.

    Raises:
        UsageError: a model type that is not known, that masks its input, or a configuration or preprocessor settings
            that are not known or out of bounds.
        MissingError: transformers is not installed, or the model is neither in the cache nor downloadable.
    """
    folder = hub.snapshot(argument, revision, pretrained)
    raw = configuration.read(folder / "config.json")
    family = _family(argument, raw)
    if pooled == "native":
        family = replace(family, options=(), pools=True)
    cls = published.class_of(family.model, f"hf:{argument}")
    config = configuration.of(cls.config_class, raw, f"hf:{argument}")
    mean, std, native = configuration.preprocessing(f"hf:{argument}", folder, config)
    published.tried(f"hf:{argument}", cls, config, **dict(family.options))
    network = _network(argument, cls, folder, family, config, pretrained)
    patch, dim = _grid(config)
    sha = published.sha256(folder) if pretrained else files.sha256(json.dumps(raw, sort_keys=True).encode())
    random = "" if pretrained else ", random weights"
    about = described(
        network,
        sha256=sha,
        licence=published.licence(folder),
        source=f"hf:{argument}{'@' + revision if revision else ''}{random}",
        fingerprint=_identity(folder, size, pretrained, pooled),
    )
    facts: dict[str, Any] = {"size": size or native, "mean": mean, "std": std, "about": about}
    return TransformersEncoder(network, family, patch, dim, native=(native, native), pooled=pooled, **facts).eval()


def fingerprint(
    argument: str, /, *, revision: str = "", size: int = 0, pretrained: bool = True, pooled: str = "tokens"
) -> str:
    """A hash over the weights' files and both configurations; the network is not built."""
    return _identity(hub.snapshot(argument, revision, pretrained), size, pretrained, pooled)


def foreign(argument: str, /, *, revision: str, **_settings: Any) -> str:
    """What is neither a folder nor in the cache would be fetched."""
    local = Path(argument).expanduser().is_dir()
    return "" if local else hub.foreign(argument, "config.json", revision)


def _identity(folder: Path, size: int, pretrained: bool, pooled: str) -> str:
    configurations = [folder / name for name in ("config.json", "preprocessor_config.json")]
    parts = [files.sha256_of_file(path) for path in configurations if path.is_file()]
    # which random weights a seed gives is the libraries' affair
    parts.append(published.sha256(folder) if pretrained else f"random {version('transformers')} {version('torch')}")
    raw = configuration.of_vision(configuration.read(configurations[0]))
    edges = [raw.get(key) for key in ("image_size", "patch_size")]
    uneven = all(isinstance(edge, int) and edge > 0 for edge in edges) and edges[0] % edges[1]  # type: ignore[operator]
    return files.mixed(
        files.sha256(" ".join(parts).encode()),
        size=size,
        pooled="" if pooled == "tokens" else pooled,
        edges="as published" if uneven else "",
    )


def _family(argument: str, config: dict[str, Any]) -> _Family:
    model_type = str(config.get("model_type", ""))
    if model_type == "vit_mae":
        raise UsageError(
            f"hf:{argument}: transformers masks 75 % of its patches even in evaluation; use "
            "timm:vit_base_patch16_224.mae instead"
        )
    if model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UsageError(
            f"hf:{argument} is of type {model_type or 'unknown'!r}; there is {known}, else use timm: or py:"
        )
    return FAMILIES[model_type]


def _network(argument: str, cls: Any, folder: Path, family: _Family, config: Any, pretrained: bool) -> Any:
    label, options = f"hf:{argument}", dict(family.options)
    if not pretrained:
        return published.random(cls, config, **options)
    network, report = published.loaded(label, cls, config, folder, **options)
    _validate_keys(label, family, report, len(network.state_dict()))
    return network.eval()


def _validate_keys(name: str, family: _Family, report: dict[str, Any], total: int) -> None:
    """Refuse what transformers would load with a warning: keys missing, of another shape, or that belong to no known
    part beside the encoder."""
    missing = sorted(key for key in report["missing_keys"] if not (_COMPUTED if family.pools else _UNUSED).search(key))
    wrong = sorted(str(item[0]) for item in report.get("mismatched_keys", ()))
    foreign = sorted(key for key in report["unexpected_keys"] if not _UNUSED.search(key))
    if missing or wrong or foreign:
        share = 1 - len(missing + wrong) / max(total, 1)
        groups = (("missing", missing), ("misshapen", wrong), ("unexpected", foreign))
        parts = "; ".join(f"{len(keys)} {word}: {', '.join(keys[:5])}" for word, keys in groups if keys)
        raise UsageError(f"{name} does not fit {family.model} ({100 * share:.1f} % of its keys): {parts}")


def _grid(config: Any) -> tuple[int, int]:
    """Edge of a cell in pixels, and width of the features."""
    patch = getattr(config, "patch_size", None)
    if getattr(config, "hidden_sizes", None):
        stem = 4 * 2 ** (len(config.hidden_sizes) - 1)
        return (stem, config.hidden_sizes[-1])
    return (int(patch if isinstance(patch, int) else patch[0]), int(config.hidden_size))  # type: ignore[index]


TRAITS = EncoderTraits(fingerprint=fingerprint, foreign=foreign)
