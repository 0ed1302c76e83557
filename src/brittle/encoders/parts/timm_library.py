"""Models of timm by name: what the library says of them, and the networks."""

from contextlib import nullcontext
from typing import Any

from brittle.core.errors import UnreachableError, UsageError, unknown
from brittle.core.text import brief
from brittle.encoders.parts import hub


def config_of(argument: str) -> Any:
    """What timm says of a model and its weights."""
    import timm as library

    name = argument.partition(".")[0]
    if not name:
        raise UsageError("timm needs the name of a model; write timm:NAME, such as timm:resnet18")
    if not library.is_model(name):
        raise unknown("timm model", name, library.list_models())
    try:
        config = library.get_pretrained_cfg(argument)
    except RuntimeError:  # a tag that is no name
        config = None
    if config is None:
        raise unknown(f"weights of timm's {name} called", argument, library.list_pretrained(f"{name}.*"))
    return config


def built(argument: str, size: int, pretrained: bool, **fixed: Any) -> tuple[Any, bool]:
    """The model, built for any image size where it supports that, else for ``size``, and whether it was; ``fixed`` are
    options that it always has."""
    import timm as library
    import torch

    variants: list[dict[str, Any]] = [{"dynamic_img_size": True}, *([{"img_size": size}] if size else []), {}]
    for number, options in enumerate(variants):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                with hub.asked() if pretrained else nullcontext():
                    network = library.create_model(argument, pretrained=pretrained, **fixed, **options)
                return network, "img_size" in options
            except TypeError:  # takes no such option
                if number + 1 == len(variants):
                    raise
            except (OSError, RuntimeError, ValueError, AssertionError, ArithmeticError, LookupError) as error:
                if not pretrained:
                    raise UsageError(f"timm:{argument} cannot be made for images of {size} ({brief(error)})") from None
                why = f"its weights could not be downloaded ({hub.reason(error)})"
                instead = "run once with a network, or set HF_HOME to where they are"
                raise UnreachableError(f"timm:{argument}: {why}; {instead}") from None
    raise AssertionError(variants)
