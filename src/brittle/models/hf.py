"""A network of transformers for a task, by its name on the hub or a folder: ``model:hf:nvidia/segformer-b0``.

Its own image processor prepares the images and reads depth; no remote code is run, and only tensors are unpickled.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.core.traits import Ability, ModelTraits
from brittle.encoders.parts import configuration, hub, published
from brittle.encoders.parts.wrappers import Size, described
from brittle.models.parts import transformers_tasks
from brittle.models.parts.class_map import with_synsets
from brittle.models.parts.inner import inner
from brittle.models.parts.processed import Processed, frame_of, processor_of
from brittle.models.parts.settings import At, First, identity, inside
from brittle.types import Network, Positive
from brittle.types.network import Align, Logits

UNITS: Mapping[str, str] = {"dpt": "inverse", "zoedepth": "metres", "glpn": "metres", "depth_pro": "metres"}
"""What the depth of a model type is."""
FEATURES: Mapping[str, str] = {
    "dpt": "dpt",
    "segformer": "segformer",
    "glpn": "glpn",
    "mask2former": "model.pixel_level_module.encoder",
    "maskformer": "model.pixel_level_module.encoder",
    "upernet": "backbone",
    "depth_anything": "backbone",
    "zoedepth": "backbone",
    "vit": "vit",
    "deit": "deit",
    "beit": "beit",
    "dinov2": "dinov2",
    "convnext": "convnext",
    "convnextv2": "convnextv2",
    "resnet": "resnet",
    "swin": "swin",
}
"""The encoder of a model type, by the name of its module."""


def hf(
    argument: str,
    /,
    *,
    revision: str = "",
    pretrained: bool = True,
    size: Size = 0,
    window: Size = 0,
    at: At = "auto",
    features: str = "",
    classes: Sequence[int] = (),
    first: First = -1,
    temperature: Positive = 1.0,
    depth: Literal["auto", "metres", "inverse", "relative"] = "auto",
    align: Align = "lstsq",
) -> Network:
    """A network of transformers for image classification, semantic segmentation or depth.

    Args:
        argument: name on the hub (ORG/NAME), or a folder with config.json, preprocessor_config.json and the weights.
        revision: commit, tag or branch on the hub, so that the weights are pinned; empty for its main branch.
        pretrained: false for random weights from seed 0 in the same architecture.
        size: what the shorter edge of images is brought to before the attack; 0 for what its processor says.
        window: edge of sliding windows over images of masks or depth that are larger; 0 for the whole image.
        at: where the attack happens: ``input``, on the image as the network takes it; ``image``, before its processor
            resizes it; ``auto`` for the first where an image has one label, for the second else.
        features: module whose output is the encoder's, for attacks on that alone; empty for what is known.
        classes: the output of each class of the data set; empty to go by their names.
        first: the output of its first class where the others follow, such as 1 after a background; -1 to go by names.
        temperature: what its logits are divided by, for a network that is calibrated so.
        depth: what its depth is: metres, metres up to a scale and a shift (``relative``), or the inverse of those;
            ``auto`` for what the model type says.
        align: how depth that is no metres is brought to them: scale and shift by least squares, or the scale alone by
            medians (``median``).

    Raises:
        UsageError: a model type or processor that is not known, or a configuration out of bounds.
        MissingError: transformers is not installed, or the model is neither in the cache nor downloadable.
    """
    folder = hub.snapshot(argument, revision, pretrained)
    raw = configuration.read(folder / "config.json")
    task, config, cls = _made(argument, raw)
    network = _network(argument, cls, config, folder, pretrained)
    processor = processor_of(f"hf:{argument}", folder)
    how = {"inside": inside(at, task.predicts), "dense": "per_pixel" in task.predicts}
    body = Processed(network, processor, task.read, **how).eval()
    frame = frame_of(processor, config, size=size, window=window, **how)
    settings = {"size": size, "window": window, "at": at, "features": features, "classes": classes, "first": first}
    settings |= {"temperature": temperature, "depth": depth, "align": align}
    about = _described(network, argument, folder, raw, revision=revision, pretrained=pretrained, **settings)
    return Network(
        body,
        task.predicts,
        frame,
        about=about,
        logits=Logits(_names_of(raw, task.predicts), classes, first, temperature),
        encoder=inner(body, features or _features(raw), frame.size, about, sure=bool(features)),
        unit=_unit(argument, config, depth) if "metres" in task.predicts else "metres",
        align=align,
    ).eval()


def _described(
    network: Any,
    argument: str,
    folder: Path,
    raw: Mapping[str, Any],
    *,
    revision: str,
    pretrained: bool,
    **settings: Any,
) -> dict[str, Any]:
    """What a result says of it."""
    return described(
        network,
        sha256=published.sha256(folder) if pretrained else files.sha256(json.dumps(raw, sort_keys=True).encode()),
        licence=published.licence(folder),
        source=f"model:hf:{argument}{'@' + revision if revision else ''}{'' if pretrained else ', random weights'}",
        fingerprint=fingerprint(argument, revision=revision, pretrained=pretrained, **settings),
    )


def fingerprint(argument: str, /, *, revision: str, pretrained: bool, **settings: Any) -> str:
    """A hash over the weights' files, both configurations and the settings that change numbers; the network is not
    built."""
    folder = hub.snapshot(argument, revision, pretrained)
    configurations = [folder / name for name in ("config.json", "preprocessor_config.json")]
    parts = [files.sha256_of_file(path) for path in configurations if path.is_file()]
    # how a processor prepares images, and which random weights a seed gives, is the library's affair
    parts.append(published.sha256(folder) if pretrained else f"random {version('torch')}")
    return identity(files.sha256(" ".join([*parts, version("transformers")]).encode()), **settings)


def predicts(argument: str, /, *, revision: str, pretrained: bool, **_settings: Any) -> Sequence[Ability]:
    """The abilities of the task that its class is for."""
    raw = configuration.read(hub.snapshot(argument, revision, pretrained) / "config.json")
    return transformers_tasks.task_of(f"hf:{argument}", raw).predicts


def features_of(argument: str, /, *, revision: str, pretrained: bool, features: str, **_settings: Any) -> str:
    """The module that its encoder's features come from."""
    raw = configuration.read(hub.snapshot(argument, revision, pretrained) / "config.json")
    return features or _features(raw)


def _features(raw: Mapping[str, Any]) -> str:
    return FEATURES.get(str(raw.get("model_type")), "")


def foreign(argument: str, /, *, revision: str, **_settings: Any) -> str:
    """What is neither a folder nor in the cache would be fetched."""
    local = Path(argument).expanduser().is_dir()
    return "" if local else hub.foreign(argument, "config.json", revision)


def _made(argument: str, raw: Mapping[str, Any]) -> tuple[transformers_tasks.HubTask, Any, Any]:
    """The task, the configuration within bounds, and the class, tried without memory."""
    label = f"hf:{argument}"
    task = transformers_tasks.task_of(label, raw)
    cls = published.class_of(task.classes[str(raw["model_type"])], label)
    names = _names(raw)
    config = configuration.of(cls.config_class, raw, label)
    if names and "classes" in task.predicts:
        config.id2label = dict(enumerate(names))
    parts: list[Any] = [config, getattr(config, "backbone_config", None)]
    for part in parts:
        if getattr(part, "use_pretrained_backbone", False):
            part.use_pretrained_backbone = False  # it would be fetched, and the weights hold it
    published.tried(label, cls, config)
    return task, config, cls


def _names_of(raw: Mapping[str, Any], abilities: Sequence[Ability]) -> Sequence[str]:
    return with_synsets(_names(raw)) if "classes" in abilities else ()


def _names(raw: Mapping[str, Any]) -> Sequence[str]:
    """What each output stands for, in their order; nothing where the configuration does not say."""
    named = raw.get("id2label")
    if not isinstance(named, Mapping) or not 0 < len(named) <= configuration.MOST:
        return ()
    try:
        order = sorted((int(key), str(name)) for key, name in named.items())
    except (TypeError, ValueError):
        return ()
    return [name for _, name in order] if [key for key, _ in order] == list(range(len(order))) else ()


def _network(argument: str, cls: Any, config: Any, folder: Path, pretrained: bool) -> Any:
    if not pretrained:
        return published.random(cls, config)
    label = f"hf:{argument}"
    network, report = published.loaded(label, cls, config, folder)
    computed = transformers_tasks.COMPUTED
    missing = sorted(key for key in report["missing_keys"] if not computed.search(key))
    wrong = sorted(str(item[0]) for item in report.get("mismatched_keys", ()))
    foreign_keys = sorted(key for key in report["unexpected_keys"] if not computed.search(key))
    if missing or wrong or foreign_keys:
        groups = (("missing", missing), ("misshapen", wrong), ("unexpected", foreign_keys))
        parts = "; ".join(f"{len(keys)} {word}: {', '.join(keys[:5])}" for word, keys in groups if keys)
        raise UsageError(f"{label} does not fit {cls.__name__}: {parts}; get the model again, or use its own class")
    return network.eval()


def _unit(argument: str, config: Any, depth: str) -> Any:
    if depth != "auto":
        return depth
    kind = getattr(config, "depth_estimation_type", "")
    found = {"metric": "metres", "relative": "inverse"}.get(kind) or UNITS.get(config.model_type)
    if not found:
        what = "metres, relative (up to scale and shift) or inverse (1 / depth, up to both)"
        raise UsageError(f"hf:{argument}: nobody knows what depth {config.model_type} gives; say depth=: {what}")
    return found


TRAITS = ModelTraits(fingerprint=fingerprint, foreign=foreign, predicts=predicts, features=features_of)
