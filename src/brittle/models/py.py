"""Your own network, from a function in a module or a file that you name: ``model:py:models/mine.py:robust``.

Naming it runs that file. The function takes images [B,3,H,W] in [0,1] and returns the prediction, or it takes nothing
and returns what does.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from brittle.core import files
from brittle.core.errors import UsageError
from brittle.core.traits import Ability, ModelTraits
from brittle.encoders.parts import own_code, own_function
from brittle.encoders.parts.wrappers import Size, described, sha256_of_weights
from brittle.models.parts.inner import inner
from brittle.models.parts.plain import Plain
from brittle.models.parts.settings import First, identity
from brittle.types import Frame, Network, Positive
from brittle.types.freezing import modules_behind
from brittle.types.network import Align, Logits, Unit

NATIVE = 224
UNIT = ((0.0,) * 3, (1.0,) * 3)


class Called(nn.Module):
    """A callable as a module, which holds the modules that are behind it."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(dict.fromkeys(modules_behind(function)))

    def forward(self, images: Tensor) -> Any:
        return self.function(images)


def py(
    argument: str,
    /,
    *,
    size: Size = 0,
    window: Size = 0,
    features: str = "",
    classes: Sequence[int] = (),
    first: First = -1,
    temperature: Positive = 1.0,
    channels: Literal["rgb", "bgr"] = "rgb",
    depth: Unit = "metres",
    scale: Positive = 1.0,
    align: Align = "lstsq",
) -> Network:
    """The network that a function of yours is, or returns; its task is that of what it predicts.

    Args:
        argument: MODULE.FUNCTION (from the working folder or installed) or FILE.py:FUNCTION.
        size: what the shorter edge of images is brought to before the attack, and of labels the edge of their centre;
            0 for the module's ``size``, else 224 of labels, and images as they are of masks and depth.
        window: edge of sliding windows over images of masks or depth that are larger; 0 for the whole image.
        features: module whose output is the encoder's, for attacks on that alone; empty for none.
        classes: the output of each class of the data set; empty to go by the module's ``classes``, else by number.
        first: the output of its first class where the others follow in their order, such as 1 to pass over a
            background; -1 for none.
        temperature: what its logits are divided by, for a network that is calibrated so.
        channels: the order of colours that it takes.
        depth: what its depth is: metres, metres up to a scale and a shift (``relative``), or the inverse of those.
        scale: what its depth is multiplied by, 0.001 where it is in millimetres.
        align: how depth that is no metres is brought to them: scale and shift by least squares, or the scale alone by
            medians (``median``).

    Raises:
        MissingError: no such module, file or function.
        UsageError: its file or the function stops, or what it predicts is none of these.
    """
    module, sha, abilities = _built(argument, size)
    mean, std = _colours(module)
    body = Plain(module, mean=mean, std=std, bgr=channels == "bgr", scale=scale).eval()
    edge = size or int(getattr(module, "size", 0) or 0) or (0 if "per_pixel" in abilities else NATIVE)
    settings = {"window": window, "features": features, "classes": classes, "first": first}
    settings |= {"temperature": temperature, "channels": channels, "depth": depth, "scale": scale, "align": align}
    about = described(
        module,
        sha256=sha,
        licence=str(getattr(module, "licence", "unknown")),
        source=f"model:py:{argument}",
        fingerprint=fingerprint(argument, size=size, **settings),
    )
    return Network(
        body,
        abilities,
        Frame(edge, window=window),
        about=about,
        logits=Logits(_names(module) if "classes" in abilities else (), classes, first, temperature),
        encoder=inner(body, features, edge, about, sure=True),
        unit=depth,
        align=align,
    ).eval()


def fingerprint(argument: str, /, *, size: int, **settings: Any) -> str:
    """A hash over the source file, the weights and the settings; the module is made once for each version of the
    file."""
    own = _own(argument, files.sha256_of_file(own_function.source(argument)[0]), size)
    usual = {"channels": "rgb", "depth": "metres", "scale": 1.0}
    changed = {key: value for key, value in settings.items() if value != usual.get(key, ())}
    return identity(own, size=size, **changed)


def predicts(argument: str, /, *, size: int, **_settings: Any) -> Sequence[Ability]:
    """The abilities of the task whose prediction it gives, for an image that is tried."""
    return _built(argument, size)[2]


def features_of(*, features: str, **_settings: Any) -> str:
    """The module that its encoder's features come from."""
    return features


def foreign(**_settings: Any) -> str:
    """Naming a file runs it."""
    return "runs a file"


@lru_cache(maxsize=16)
def _own(argument: str, _source_sha: str, size: int) -> str:
    module, sha, _ = _built(argument, size)
    source, name = own_function.source(argument)
    return own_code.fingerprint(module, name, source, sha)


def _names(module: Any) -> Sequence[str]:
    """What a module says its outputs stand for."""
    return tuple(map(str, getattr(module, "classes", ()) or ()))


def _colours(module: Any) -> tuple[Sequence[float], Sequence[float]]:
    """The mean and std that a module says it takes, 0 and 1 where it says none."""
    colours: list[Any] = [getattr(module, name, None) for name in ("mean", "std")]
    given = all(isinstance(colour, (tuple, list)) and len(colour) == 3 for colour in colours)  # noqa: PLR2004 - colours
    return (colours[0], colours[1]) if given else UNIT


def _built(argument: str, size: int) -> tuple[nn.Module, str, Sequence[Ability]]:
    """The network in float32, the sha256 of its weights, and the abilities of its task."""
    function, _ = own_function.named(argument)
    asks = _asks(function)
    made = function if asks else own_function.called(argument, function)
    if not callable(made):
        raise UsageError(f"model:py:{argument} returned a {type(made).__name__}; it must return a torch.nn.Module")
    module = (made if isinstance(made, nn.Module) else Called(made)).eval()
    sha = sha256_of_weights(module)
    module = module.float()
    edge = size or int(getattr(module, "size", 0) or 0) or NATIVE
    with torch.no_grad(), own_function.in_one_line(argument):
        given = module(torch.full((1, 3, edge, edge), 0.5))
    return module, sha, _abilities(argument, given)


def _asks(function: Callable[..., Any]) -> bool:
    """Whether a function needs an argument, which is then images; one that does not say so does."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return True
    plain = (each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD))
    return any(each.default is each.empty for each in plain)


def _abilities(argument: str, given: Any) -> Sequence[Ability]:
    """Of the task that a prediction for one image is of."""
    given = given["out"] if isinstance(given, dict) and "out" in given else given
    shape = tuple(given.shape) if isinstance(given, Tensor) else None
    if isinstance(given, Tensor) and not given.is_floating_point():
        what = f"model:py:{argument} gives {given.dtype} {list(given.shape)}"
        raise UsageError(
            f"{what}: classes that are chosen already pass no gradient on; return what is before the argmax"
        )
    if shape and len(shape) == 2:  # noqa: PLR2004 - [B,C]
        return ("classes", "per_image")
    if shape and (len(shape) == 3 or (len(shape) == 4 and shape[1] == 1)):  # noqa: PLR2004 - [B,H,W], [B,1,H,W]
        return ("metres", "per_pixel")
    if shape and len(shape) == 4:  # noqa: PLR2004 - [B,C,H,W]
        return ("classes", "per_pixel")
    what = list(shape) if shape is not None else f"a {type(given).__name__}"
    wanted = "logits [B,C], logits [B,C,H,W] or depth [B,1,H,W]"
    raise UsageError(f"model:py:{argument} gives {what} for one image; return {wanted}")


TRAITS = ModelTraits(fingerprint=fingerprint, foreign=foreign, predicts=predicts, features=features_of)
