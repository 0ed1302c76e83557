"""What every way in to a whole network may be told, and what stands for it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from brittle.core import files

At = Literal["auto", "input", "image"]
"""Where the attack happens: on the image as the network takes it, or before the network resizes it; ``auto`` is the
first where an image has one label and the second where each pixel has."""
First = Annotated[int, Field(ge=-1, le=100_000)]
DEFAULTS: dict[str, Any] = {
    "size": 0,
    "window": 0,
    "at": "auto",
    "features": "",
    "classes": [],
    "first": -1,
    "temperature": 1.0,
    "depth": "auto",
    "align": "lstsq",
}


def inside(at: str, predicts: Sequence[str]) -> bool:
    """Whether the network resizes by itself, after the attack."""
    return at == "image" or (at == "auto" and "per_pixel" in predicts)


def identity(sha: str, **settings: Any) -> str:
    """A hash over what stands for the weights, and the settings that are not at their defaults."""
    given = {key: list(value) if isinstance(value, (list, tuple)) else value for key, value in settings.items()}
    changed = {key: str(value) for key, value in given.items() if key not in DEFAULTS or value != DEFAULTS[key]}
    return files.mixed(sha, **changed)
