"""Configurations that came with weights: only the sizes and options of the architecture are taken from them, within
bounds, since the rest could ask a library to fetch or run code."""

import inspect
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brittle.core.errors import UsageError
from brittle.encoders.parts.wrappers import IMAGENET, MOST_LAYERS

MOST = 1_000_000
"""The largest whole number that a configuration may hold, and the most items of a list in it."""
_REPEATED = ("layers", "depth", "stages", "blocks")
"""Words in the names of settings that say how often something is built."""


def read(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UsageError: it holds none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except (ValueError, RecursionError):
        raise UsageError(f"{path}: is not JSON; get the model again") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: is a {type(content).__name__}, not an object; get the model again")
    return content


def of_vision(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The visual part of a configuration that has one of text as well."""
    vision = raw.get("vision_config")
    return vision if isinstance(vision, Mapping) else raw


def of(cls: Any, raw: Mapping[str, Any], name: str) -> Any:
    """A configuration of class ``cls`` with nothing of ``raw`` but that class's own settings: no implementation of
    attention, no kernels, no code, no quantisation.

    Raises:
        UsageError: a value out of bounds, or none that the class takes.
    """
    from transformers import PretrainedConfig

    general = inspect.signature(PretrainedConfig.__init__).parameters
    own = (set(inspect.signature(cls.__init__).parameters) | set(cls.attribute_map)) - set(general)
    given = {key: value for key, value in of_vision(raw).items() if key in own}
    for key, value in given.items():
        refuse_sizes(key, value, name)
    if given.get("num_channels", 3) != 3:
        raise UsageError(f"{name}: its images have {str(given['num_channels'])[:40]} channels; give a model of RGB")
    try:
        return cls(**given)
    except Exception as error:  # each class judges its values in its own way
        why = " ".join(str(error).split())[:160]
        raise UsageError(f"{name}: its config.json makes no {cls.__name__} ({why})") from None


def refuse_sizes(key: str, value: Any, name: str) -> None:
    """Refuse what nothing could be built of: numbers that are not finite or too large, and too many layers.

    Raises:
        UsageError: with the setting and its value.
    """
    if isinstance(value, Mapping):
        for inner, part in value.items():
            refuse_sizes(str(inner), part, name)
        return
    parts = value if isinstance(value, (list, tuple)) else [value]
    numbers = [part for part in parts if isinstance(part, (int, float)) and not isinstance(part, bool)]
    most = MOST_LAYERS if any(word in key for word in _REPEATED) else MOST
    total = sum(numbers) if most == MOST_LAYERS else max(map(abs, numbers), default=0)
    if key.endswith("_size") and any(number <= 0 for number in numbers):
        raise UsageError(f"{name}: {key} is {str(value)[:40]}; it must be above 0")
    if len(parts) > MOST_LAYERS or not all(map(math.isfinite, numbers)) or not abs(total) <= most:
        raise UsageError(f"{name}: {key} is {str(value)[:40]}; at most {most} is taken")


def preprocessing(name: str, folder: Path, config: Any) -> tuple[Any, Any, int]:
    """Mean, std and native size, from the preprocessor's configuration; where it says nothing, ImageNet's and the
    model's own size.

    Raises:
        UsageError: settings that are not known or make no sense.
    """
    path = folder / "preprocessor_config.json"
    facts = read(path) if path.is_file() else {}
    factor = facts.get("rescale_factor", 1 / 255)
    if not isinstance(factor, (int, float)) or not abs(factor * 255 - 1) <= 1e-3 or facts.get("do_rescale") is False:
        raise UsageError(
            f"{name}: its preprocessor scales pixels by {str(factor)[:20]}, not by 1/255; wrap it with py: instead"
        )
    mean, std = facts.get("image_mean", IMAGENET[0]), facts.get("image_std", IMAGENET[1])
    if facts.get("do_normalize") is False:
        mean, std = (0.0,) * 3, (1.0,) * 3
    size: Any = (facts.get("crop_size") if facts.get("do_center_crop", True) else None) or facts.get("size") or 0
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge") or 0
    own: Any = getattr(config, "image_size", 0) or 224
    size = size or (own if isinstance(own, int) else own[0])
    colours(name, mean, std)
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= 8192:
        raise UsageError(f"{name}: its images' size is {str(size)[:40]}; a whole number of pixels up to 8192 is taken")
    return mean, std, size


def colours(name: str, mean: Any, std: Any) -> None:
    """Refuse a mean and std that are not three finite numbers each, or a std that is not above 0.

    Raises:
        UsageError: with both.
    """
    triples = [
        isinstance(each, (list, tuple)) and len(each) == 3 and all(_number(value) for value in each)  # type: ignore[arg-type]
        for each in (mean, std)
    ]
    if not all(triples) or not all(value > 0 for value in std):
        raise UsageError(f"{name}: mean {str(mean)[:60]} and std {str(std)[:60]} must be 3 numbers each, std > 0")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1000
