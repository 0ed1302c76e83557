"""A vision encoder of transformers, by its name on the hub or a folder: ``hf:facebook/dinov2-small(size=224)``.

Only transformers' own code is run (no remote code), and only tensors are unpickled from weights.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from brittle.core import files
from brittle.core.errors import MissingError, UsageError
from brittle.core.traits import EncoderTraits
from brittle.encoders.parts import checkpoints
from brittle.encoders.parts.wrappers import IMAGENET, PaddedEncoder, described, spatial
from brittle.types import Count, Encoder, Features


@dataclass(frozen=True)
class _Family:
    """How transformers lays out a model type: its class, tokens before the patches (besides registers), the final norm
    not yet applied to its last hidden state, and whether it has to be asked to interpolate positions."""

    model: str
    prefix: int = 1
    norm: str = ""
    asks: bool = True
    options: tuple[tuple[str, Any], ...] = ()


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

_UNUSED = re.compile(
    r"^(\w+\.)?(pooler\.dense|head|\w*classifier|lm_head|decoder|text_model|\w*projection|logit_\w+)\b"
    r"|mask_token|position_ids|relative_position_index|num_batches_tracked|inv_freq"
)
"""Keys that belong to no feature read here: heads, poolers, the text side, and what can be computed."""


class TransformersEncoder(PaddedEncoder):
    """``pooled`` is the final-norm CLS token, or the mean of the grid where there is none; ``grid`` the final-norm
    patch tokens, or the last feature map of a CNN. Poolers and projections of the model are not used."""

    def __init__(self, network: nn.Module, family: _Family, patch: int, dim: int, **facts: Any) -> None:
        super().__init__(dim, patch, **facts)
        self.network = network
        config: Any = network.config
        self.cls = family.prefix
        self.prefix = family.prefix + int(getattr(config, "num_register_tokens", 0) or 0)
        self.options = {"interpolate_pos_encoding": True} if family.asks else {}
        # BEiT's is in its pooler, if it pools
        late = bool(family.norm) and (config.model_type != "beit" or config.use_mean_pooling)
        self.norm_path = family.norm if late else ""

    def features(self, padded: Tensor) -> Features:
        last = self.network(pixel_values=padded, **self.options).last_hidden_state
        if self.norm_path and last.dim() < 4:
            last = self.network.get_submodule(self.norm_path)(last)
        return self.spread(last, padded)

    def blocks(self) -> Sequence[nn.Module]:
        # the outermost list
        return next(list(module) for module in self.network.modules() if isinstance(module, nn.ModuleList))

    def spread(self, tokens: Tensor, padded: Tensor) -> Features:
        if tokens.dim() == 4:
            return Features(tokens.mean((2, 3)), tokens)
        grid = spatial(tokens[:, self.prefix :], padded.shape[-2] // self.patch, padded.shape[-1] // self.patch)
        return Features(tokens[:, 0] if self.cls else grid.mean((2, 3)), grid)


def hf(argument: str, /, *, revision: str = "", size: Count = 0, pretrained: bool = True) -> Encoder:
    """A vision encoder of transformers.

    Args:
        argument: name on the hub (ORG/NAME), or a folder with config.json and the weights.
        revision: commit, tag or branch on the hub, so that the weights are pinned; empty for its main branch.
        size: edge of the images it is used at; 0 for what its preprocessor or its configuration says.
        pretrained: false for random weights from seed 0 in the same architecture.

    Raises:
        UsageError: a model type that is not known, that masks its input, or preprocessor settings that are not known.
        MissingError: transformers is not installed, or the model is neither in the cache nor downloadable.
    """
    folder = _folder(argument, revision, pretrained)
    config = _json(folder / "config.json")
    family = _family(argument, config)
    network = _network(argument, folder, family, pretrained)
    patch, dim = _grid(network.config)
    mean, std, native = _preprocessing(argument, folder, network.config)
    sha = _sha256(folder) if pretrained else files.sha256(json.dumps(config, sort_keys=True).encode())
    random = "" if pretrained else ", random weights"
    about = described(
        network,
        sha256=sha,
        licence=_licence(folder),
        source=f"hf:{argument}{'@' + revision if revision else ''}{random}",
        fingerprint=_identity(folder, size, pretrained),
    )
    return TransformersEncoder(network, family, patch, dim, size=size or native, mean=mean, std=std, about=about)


def fingerprint(argument: str, /, *, revision: str = "", size: int = 0, pretrained: bool = True) -> str:
    """A hash over the weights' files and both configurations; the network is not built."""
    return _identity(_folder(argument, revision, pretrained), size, pretrained)


def _identity(folder: Path, size: int, pretrained: bool) -> str:
    configurations = [folder / name for name in ("config.json", "preprocessor_config.json")]
    parts = [files.sha256_of_file(path) for path in configurations if path.is_file()]
    parts.append(_sha256(folder) if pretrained else "random")
    return files.mixed(files.sha256(" ".join(parts).encode()), size=size)


def _sha256(folder: Path) -> str:
    """sha256 of the weights' file; of all their hashes where there are several."""
    shas = [_hashed(path, path.stat().st_mtime_ns, path.stat().st_size) for path in _weights(folder)]
    return shas[0] if len(shas) == 1 else files.sha256(" ".join(shas).encode())


@lru_cache(maxsize=256)
def _hashed(path: Path, _changed: int, _size: int) -> str:
    return files.sha256_of_file(path)


def _weights(folder: Path) -> list[Path]:
    """The files of the weights, as transformers chooses them: safetensors first."""
    for pattern in ("model.safetensors", "model-*.safetensors", "pytorch_model.bin", "pytorch_model-*.bin"):
        paths = sorted(folder.glob(pattern))
        if paths:
            return paths
    raise MissingError(f"no weights in {folder}; there should be model.safetensors or pytorch_model.bin")


def _folder(argument: str, revision: str, pretrained: bool) -> Path:
    """The folder of a model: the one given, or the hub's snapshot of it, from the cache or downloaded."""
    local = Path(argument).expanduser()
    if local.is_dir():
        if not (local / "config.json").is_file():
            raise MissingError(f"no config.json in {local}; save the model there with save_pretrained")
        return local
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    plain = ["config.json", "preprocessor_config.json", "README.md"]
    try:
        wanted = (
            [*plain, "model.safetensors", "model-*.safetensors", "model.safetensors.index.json"]
            if pretrained
            else plain
        )
        folder = Path(snapshot_download(argument, revision=revision or None, allow_patterns=wanted))
        if pretrained and not any(folder.glob("model*.safetensors")):
            folder = Path(
                snapshot_download(argument, revision=revision or None, allow_patterns=[*plain, "pytorch_model*"])
            )
    except HFValidationError:
        raise MissingError(f"hf:{argument} is neither a folder nor a name on the hub (ORG/NAME)") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise MissingError(
            f"hf:{argument} could not be downloaded ({reason}); run once with a network, or give a folder in its place"
        ) from None
    if not (folder / "config.json").is_file():
        raise MissingError(
            f"hf:{argument} has no config.json in the cache or on the hub; run once with a network, or give a folder"
        )
    return folder


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


def _network(argument: str, folder: Path, family: _Family, pretrained: bool) -> Any:
    try:
        import transformers
    except ImportError:
        raise MissingError(f"hf:{argument} needs transformers; pip install 'brittle[hf]'") from None
    import torch

    cls: Any = getattr(transformers, family.model)
    if not pretrained:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return cls(cls.config_class.from_pretrained(str(folder)), **dict(family.options)).eval()
    safe = _weights(folder)[0].suffix == ".safetensors"
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        network, report = cls.from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=safe,
            weights_only=True,
            output_loading_info=True,
            dtype=torch.float32,
            **dict(family.options),
        )
    except Exception as error:  # a damaged or hostile file can raise anything
        why = checkpoints.reason(str(error))
        raise UsageError(f"hf:{argument}: its weights do not load as {family.model} ({why})") from None
    finally:
        transformers.logging.set_verbosity(level)
    _validate_keys(f"hf:{argument}", family.model, report, len(network.state_dict()))
    return network.eval()


def _validate_keys(name: str, model: str, report: dict[str, Any], total: int) -> None:
    """Refuse what transformers would load with a warning: keys missing, of another shape, or that belong to no known
    part beside the encoder."""
    missing = sorted(key for key in report["missing_keys"] if not _UNUSED.search(key))
    wrong = sorted(str(item[0]) for item in report.get("mismatched_keys", ()))
    foreign = sorted(key for key in report["unexpected_keys"] if not _UNUSED.search(key))
    if missing or wrong or foreign:
        share = 1 - len(missing + wrong) / max(total, 1)
        groups = (("missing", missing), ("misshapen", wrong), ("unexpected", foreign))
        parts = "; ".join(f"{len(keys)} {word}: {', '.join(keys[:5])}" for word, keys in groups if keys)
        raise UsageError(f"{name} does not fit {model} ({100 * share:.1f} % of its keys): {parts}")


def _grid(config: Any) -> tuple[int, int]:
    """Edge of a cell in pixels, and width of the features."""
    patch = getattr(config, "patch_size", None)
    if getattr(config, "hidden_sizes", None):
        stem = 4 * 2 ** (len(config.hidden_sizes) - 1)
        return (stem, config.hidden_sizes[-1])
    return (int(patch if isinstance(patch, int) else patch[0]), int(config.hidden_size))  # type: ignore[index]


def _preprocessing(argument: str, folder: Path, config: Any) -> tuple[Any, Any, int]:
    """Mean, std and native size, from the preprocessor's configuration; where it says nothing, ImageNet's and the
    model's own size."""
    path = folder / "preprocessor_config.json"
    facts = _json(path) if path.is_file() else {}
    factor = float(facts.get("rescale_factor", 1 / 255))
    if abs(factor * 255 - 1) > 1e-3 or facts.get("do_rescale") is False:
        raise UsageError(
            f"hf:{argument}: its preprocessor scales pixels by {factor:g}, not by 1/255; wrap it with py: instead"
        )
    mean, std = facts.get("image_mean", IMAGENET[0]), facts.get("image_std", IMAGENET[1])
    if facts.get("do_normalize") is False:
        mean, std = (0.0,) * 3, (1.0,) * 3
    size: Any = (facts.get("crop_size") if facts.get("do_center_crop", True) else None) or facts.get("size") or 0
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge") or 0
    own: Any = getattr(config, "image_size", 0) or 224
    return mean, std, int(size) or int(own if isinstance(own, int) else own[0])


def _licence(folder: Path) -> str:
    """The licence that the model card's header names."""
    card = folder / "README.md"
    lines = card.read_text(encoding="utf8", errors="replace").splitlines()[:60] if card.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("license:")), "") or "unknown"


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except ValueError:
        raise UsageError(f"{path}: is not JSON; get the model again") from None


TRAITS = EncoderTraits(fingerprint=fingerprint)
