"""A network of torchvision for classification or segmentation, by its name: ``model:torchvision:fcn_resnet50``."""

import importlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from brittle.core import files
from brittle.core.errors import UnreachableError, UsageError, unknown
from brittle.core.text import brief
from brittle.core.traits import Ability, ModelTraits
from brittle.encoders.parts import checkpoints
from brittle.encoders.parts.wrappers import Size, described, sha256_of_weights
from brittle.models.parts.class_map import IMAGENET, imagenet
from brittle.models.parts.inner import inner
from brittle.models.parts.plain import Plain
from brittle.models.parts.settings import At, First, identity, inside
from brittle.types import Frame, Network, Positive
from brittle.types.network import Logits
from brittle.types.weight_files import read, sha256_of

LABELS: Sequence[Ability] = ("classes", "per_image")
MASKS: Sequence[Ability] = ("classes", "per_pixel")


def torchvision(
    argument: str,
    /,
    *,
    weights: str = "DEFAULT",
    checkpoint: str = "",
    outputs: Size = 0,
    size: Size = 0,
    window: Size = 0,
    at: At = "auto",
    features: str = "",
    classes: Sequence[int] = (),
    first: First = -1,
    temperature: Positive = 1.0,
) -> Network:
    """A classifier, or DeepLabV3, FCN or LR-ASPP, of torchvision, with its own transforms.

    Args:
        argument: torchvision's name, such as resnet50 or deeplabv3_resnet50.
        weights: torchvision's name of published ones, or ``none`` for random ones from seed 0.
        checkpoint: a file with the ``state_dict`` of other weights.
        outputs: how many classes a checkpoint or random weights have; 0 for as many as the published ones.
        size: what the shorter edge of images is brought to before the attack; 0 for what its transforms say.
        window: edge of sliding windows over larger images of masks; 0 for the whole image.
        at: where the attack happens: ``input``, on the image as the network takes it; ``image``, before its transforms
            resize it; ``auto`` for the first where an image has one label, for the second else.
        features: module whose output is the encoder's, for attacks on that alone; empty for the backbone of a network
            of masks.
        classes: the output of each class of the data set; empty to go by their names.
        first: the output of its first class where the others follow, such as 1 after a background; -1 to go by names.
        temperature: what its logits are divided by, for a network that is calibrated so.

    Raises:
        UsageError: torchvision has no such model or weights, or a checkpoint that does not fit.
        MissingError: the weights are neither in the cache nor downloadable; no such checkpoint.
    """
    chosen = _weights(argument, weights)
    network = _network(argument, weights, checkpoint, outputs)
    abilities = predicts(argument)
    sha = sha256_of(Path(checkpoint).expanduser()) if checkpoint else sha256_of_weights(network)
    settings = {"size": size, "window": window, "at": at, "features": features, "classes": classes, "first": first}
    about = described(
        network,
        sha256=sha,
        licence="unknown" if checkpoint else "BSD-3-Clause",
        source=f"model:torchvision:{argument}, {checkpoint or weights}",
        fingerprint=_identity(argument, sha, weights, {**settings, "temperature": temperature, "outputs": outputs}),
    )
    within, transforms = inside(at, abilities), chosen.transforms()
    body = Plain(network, mean=transforms.mean, std=transforms.std, prepare=transforms if within else None).eval()
    frame = _frame(transforms, size, window, within, dense="per_pixel" in abilities)
    path = features or ("backbone" if "per_pixel" in abilities else "")
    return Network(
        body,
        abilities,
        frame,
        about=about,
        logits=Logits(_names(chosen, outputs), classes, first, temperature),
        encoder=inner(body, path, frame.size, about, sure=bool(features)),
    ).eval()


def fingerprint(argument: str, /, *, weights: str, checkpoint: str, **settings: Any) -> str:
    """sha256 over the names and values of all weights (of the bytes of a checkpoint), mixed with the model's name and
    with the settings that change predictions."""
    _weights(argument, weights)
    if checkpoint:
        return _identity(argument, sha256_of(Path(checkpoint).expanduser()), weights, settings)
    return _identity(argument, _sha256(argument, weights, settings["outputs"]), weights, settings)


def predicts(argument: str, /, **_settings: Any) -> Sequence[Ability]:
    """The abilities of the task that the model is for."""
    return _abilities(argument)


@cache
def _abilities(argument: str) -> Sequence[Ability]:
    """Labels or masks, by the part of torchvision that has the model."""
    models = _library()
    if argument in models.list_models(module=models):
        return LABELS
    if argument in models.list_models(module=models.segmentation):
        return MASKS
    names = [*models.list_models(module=models), *models.list_models(module=models.segmentation)]
    raise unknown("torchvision model for labels or masks", argument, names)


def features_of(argument: str, /, *, features: str, **_settings: Any) -> str:
    """The module that its encoder's features come from."""
    return features or ("backbone" if "per_pixel" in predicts(argument) else "")


def _library() -> Any:
    return importlib.import_module("torchvision.models")  # which has no types, and takes long to import


@cache
def _sha256(argument: str, weights: str, outputs: int) -> str:
    return sha256_of_weights(_network(argument, weights, "", outputs))


def _identity(argument: str, sha: str, weights: str, settings: dict[str, Any]) -> str:
    given = {**settings, "outputs": settings["outputs"] or "torchvision's"}
    # the transforms, which change with the weights, decide how images come to it
    return files.mixed(identity(sha, **given), model=argument, transforms=weights)


def _weights(argument: str, weights: str) -> Any:
    """torchvision's record of published weights; of random ones that of the model's best."""
    models = _library()
    predicts(argument)
    known = models.get_model_weights(argument)
    if weights == "none":
        return known["DEFAULT"]
    if weights not in known.__members__ and weights != "DEFAULT":
        raise unknown(f"weights of torchvision's {argument} called", weights, [*known.__members__, "none"])
    return known[weights]


def _network(argument: str, weights: str, checkpoint: str, outputs: int) -> nn.Module:
    models = _library()
    chosen = _weights(argument, weights)
    own = len(chosen.meta["categories"])
    if outputs not in (0, own) and weights != "none" and not checkpoint:
        what = f"torchvision:{argument} has weights of {own} classes, got outputs={outputs}"
        raise UsageError(f"{what}; name a checkpoint that has so many, or leave outputs out")
    options: dict[str, Any] = {"num_classes": outputs or own}
    if "per_pixel" in predicts(argument):
        options["weights_backbone"] = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: nn.Module = models.get_model(argument, weights=None, **options)
    if weights != "none" or checkpoint:
        path = Path(checkpoint).expanduser() if checkpoint else _fetched(argument, chosen)
        loaded, _ = read(path)
        found = checkpoints.cleaned(checkpoints.tensors(loaded))
        extras = re.compile(r"^(aux_classifier|AuxLogits|aux\d)\.")  # of training alone
        checkpoints.fit(network, {key: value.float() for key, value in found.items()}, extras, f"{path} as {argument}")
    return network.eval()


def _fetched(argument: str, chosen: Any) -> Path:
    """The file of published weights, in torch's own cache or downloaded there, with the hash in its name."""
    path = Path(torch.hub.get_dir(), "checkpoints", chosen.url.rpartition("/")[2])
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(chosen.url, str(path), path.stem.rpartition("-")[2], progress=False)
        except (OSError, RuntimeError) as error:
            why = f"its weights could not be downloaded ({brief(error)})"
            instead = f"run once with a network, or put {chosen.url} at {path}"
            raise UnreachableError(f"torchvision:{argument}: {why}; {instead}") from None
    return path


def _names(chosen: Any, outputs: int) -> Sequence[str]:
    """What each output stands for; nothing where the weights are not the published ones' classes."""
    names = tuple(chosen.meta["categories"])
    if outputs not in (0, len(names)):
        return ()
    return imagenet() if len(names) == IMAGENET else names


def _frame(transforms: Any, size: int, window: int, within: bool, *, dense: bool) -> Frame:
    """How images come to the network, by what its transforms say."""
    resized = list(getattr(transforms, "resize_size", None) or [0])[0]
    pixels = transforms.interpolation.value
    if dense:
        return Frame(size or resized, 0, pixels, within, window)
    own = list(transforms.crop_size)[0]
    edge = resized * (size or own) // own
    return Frame(size or own, edge if edge > (size or own) else 0, pixels, within)


TRAITS = ModelTraits(fingerprint=fingerprint, predicts=predicts, features=features_of)
