"""Images that an earlier run kept, put before another encoder or task: how well an attack transfers."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from brittle import files
from brittle.errors import MissingError, UsageError
from brittle.rng import Rng
from brittle.shelf import Shelf
from brittle.threat import Threat
from brittle.types import Batch, Model


def expand(argument: str, /) -> list[str]:
    """The kept sets of a run folder, or the one that is named itself.

    Raises:
        MissingError: there is none.
    """
    root = Path(argument).expanduser()
    found = [argument] if (root / "cell.json").is_file() else [str(path.parent) for path in sorted(root.glob("adversarial/*/cell.json"))]
    if not found:
        raise MissingError(f"stored:{argument}: no adversarial images there; make some with brittle run ... --keep-adversarial")
    return found


@cache
def fingerprint(argument: str, /) -> str:
    """What stands for the images: the names and sizes of their files, and the cell they are of."""
    paths = sorted(Path(argument).expanduser().glob("*"))
    return files.sha256("\n".join(f"{path.name} {path.stat().st_size}" for path in paths).encode())


def about(argument: str, /) -> Mapping[str, Any]:
    """The cell that the images were made for."""
    return json.loads((Path(argument).expanduser() / "cell.json").read_text(encoding="utf8"))


@cache
def _shelf(argument: str) -> Shelf:
    return Shelf(Path(argument).expanduser())


def stored(argument: str, model: Model, batch: Batch, threat: Threat, rng: Rng, /) -> Tensor:
    """The images kept under ``argument`` for the pictures of ``batch``.

    Raises:
        MissingError: one of the pictures is not among them.
        UsageError: they are of another size than this encoder or task looks at.
    """
    found = _shelf(argument).get(batch.ids)
    if found is None:
        raise MissingError(f"stored:{argument}: has not all pictures of this cell ({batch.ids[0]} ...); keep the same data set and limit")
    images = found["images"].to(batch.images)
    if images.shape != batch.images.shape:
        sizes = " and ".join("x".join(map(str, each.shape[-2:])) for each in (images, batch.images))
        raise UsageError(f"stored:{argument}: its pictures and those of this cell are {sizes}; take encoders of one size")
    return images
