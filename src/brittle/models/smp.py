"""A network of segmentation-models-pytorch, by its architecture or a folder: ``model:smp:unet(backbone=resnet34)``."""

import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from brittle.core import files, installed
from brittle.core.errors import MissingError, UsageError, unknown
from brittle.core.traits import Ability, ModelTraits
from brittle.encoders.parts import checkpoints, configuration
from brittle.encoders.parts.wrappers import IMAGENET, Size, described, sha256_of_weights
from brittle.models.parts.inner import inner
from brittle.models.parts.plain import Plain
from brittle.models.parts.settings import First, identity
from brittle.types import Frame, Network, Positive
from brittle.types.network import Logits
from brittle.types.weight_files import read, sha256_of

MASKS: Sequence[Ability] = ("classes", "per_pixel")
MULTIPLE = 32  # that edges of its images have to be multiples of, at most
OWN = ("in_channels", "encoder_weights", "activation", "aux_params")
"""Settings of a saved configuration that are not taken: of images of RGB to logits, without a download."""
Colour = tuple[float, float, float]


def smp(
    argument: str,
    /,
    *,
    backbone: str = "resnet34",
    checkpoint: str = "",
    outputs: Size = 1,
    size: Size = 0,
    window: Size = 0,
    features: str = "encoder",
    classes: Sequence[int] = (),
    first: First = -1,
    temperature: Positive = 1.0,
    mean: Colour = (0.485, 0.456, 0.406),
    std: Colour = (0.229, 0.224, 0.225),
) -> Network:
    """A network for masks of segmentation-models-pytorch. Edges of images that it cannot halve so often are filled up
    inside, with the mean colour, and cut again.

    Args:
        argument: an architecture, such as unet or deeplabv3plus; or a folder, as its ``save_pretrained`` leaves it.
        backbone: name of its encoder; a folder says its own.
        checkpoint: a file with the ``state_dict`` of the architecture; without one the weights are random, from seed 0.
        outputs: how many classes it has; a folder says its own.
        size: what the shorter edge of images is brought to before the attack; 0 for images as they are.
        window: edge of sliding windows over larger images; 0 for the whole image.
        features: module whose output is the encoder's, for attacks on that alone.
        classes: the output of each class of the data set; empty to go by number.
        first: the output of its first class where the others follow, such as 1 after a background; -1 for none.
        temperature: what its logits are divided by, for a network that is calibrated so.
        mean, std: of what it takes, 3 values each; ImageNet's by default.

    Raises:
        UsageError: no such architecture or encoder, or weights that do not fit.
        MissingError: segmentation-models-pytorch is not installed; no such checkpoint.
    """
    network, sha = _network(argument, backbone, checkpoint, outputs)
    settings = {"size": size, "window": window, "features": features, "classes": classes, "first": first}
    settings |= {"temperature": temperature}
    about = described(
        network,
        sha256=sha,
        licence="unknown",
        source=f"model:smp:{argument}" + ("" if checkpoint or _folder(argument) else ", random weights"),
        fingerprint=_identity(argument, sha, {**settings, "backbone": backbone, "mean": mean, "std": std}),
    )
    body = Plain(network, mean=mean, std=std, multiple=MULTIPLE).eval()
    encoder = inner(body, features, size or MULTIPLE, about, sure=features != "encoder")
    frame = Frame(size, window=window)
    logits = Logits((), classes, first, temperature)
    return Network(body, MASKS, frame, about=about, logits=logits, encoder=encoder).eval()


def fingerprint(argument: str, /, *, backbone: str, checkpoint: str, outputs: int, **settings: Any) -> str:
    """sha256 of the weights (of the bytes of a file), mixed with what decides how they are used."""
    folder = _folder(argument)
    if folder:
        sha = _sha_of_folder(folder)
    elif checkpoint:
        sha = sha256_of(Path(checkpoint).expanduser())
    else:
        sha = _network(argument, backbone, "", outputs)[1]
    return _identity(argument, sha, {**settings, "backbone": backbone})


def predicts(argument: str, /, **_settings: Any) -> Sequence[Ability]:
    """Masks."""
    return MASKS


def features_of(*, features: str, **_settings: Any) -> str:
    """The module that its encoder's features come from."""
    return features


def _identity(argument: str, sha: str, settings: Mapping[str, Any]) -> str:
    usual = {"backbone": "resnet34", "features": "encoder", "mean": IMAGENET[0], "std": IMAGENET[1]}
    given = {key: tuple(value) if isinstance(value, (list, tuple)) else value for key, value in settings.items()}
    changed = {key: value for key, value in given.items() if value != usual.get(key, ())}
    return identity(sha, model="" if _folder(argument) else argument, **changed)


def _library() -> Any:
    try:
        return importlib.import_module("segmentation_models_pytorch")  # which has no types
    except ImportError:
        raise MissingError(f"model:smp {installed.needs('segmentation-models-pytorch')}") from None


def _folder(argument: str) -> Path | None:
    """The folder that an argument names, if it does."""
    path = Path(argument).expanduser()
    return path if path.is_dir() else None


def _sha_of_folder(folder: Path) -> str:
    return files.sha256("".join(files.sha256_of_file(path) for path in _saved(folder)).encode())


def _saved(folder: Path) -> tuple[Path, Path]:
    """Configuration and weights of a folder."""
    paths = folder / "config.json", folder / "model.safetensors"
    for path in paths:
        if not path.is_file():
            raise MissingError(f"model:smp: no {path.name} in {folder}; save the model there with save_pretrained")
    return paths


def _network(argument: str, backbone: str, checkpoint: str, outputs: int) -> tuple[nn.Module, str]:
    """The network in evaluation mode, and what stands for its weights."""
    folder = _folder(argument)
    options: dict[str, Any] = {"encoder_name": backbone, "classes": outputs}
    name = argument
    if folder:
        raw = configuration.read(_saved(folder)[0])
        for key, value in raw.items():
            configuration.refuse_sizes(key, value, f"smp:{argument}")
        name = str(raw.get("_model_class", "")).lower()
        options = {key: value for key, value in raw.items() if key not in OWN and not key.startswith("_")}
    library = _library()
    known = list(library.MODEL_ARCHITECTURES_MAPPING)
    if name not in known:
        raise unknown("architecture of segmentation-models-pytorch", name, known)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network: nn.Module = library.create_model(name, encoder_weights=None, **options)
    except (KeyError, ValueError, TypeError) as error:
        why = " ".join(str(error).split())[:160]
        raise UsageError(f"smp:{argument}: cannot be made of {options} ({why})") from None
    path = _saved(folder)[1] if folder else Path(checkpoint).expanduser() if checkpoint else None
    if path is None:
        return network.eval(), sha256_of_weights(network)
    loaded, sha = read(path)
    state = {key: value.float() for key, value in checkpoints.cleaned(checkpoints.tensors(loaded)).items()}
    checkpoints.fit(network, state, re.compile(r"^$"), f"{path} as {name}")
    return network.eval(), _sha_of_folder(folder) if folder else sha


TRAITS = ModelTraits(fingerprint=fingerprint, predicts=predicts, features=features_of)
