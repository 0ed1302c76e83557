"""Images that an earlier run kept, put before another encoder or task: how well an attack transfers."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from torch import Tensor

from brittle.attacks.parts.image_store import ImageStore
from brittle.core import files
from brittle.core.errors import MissingError, UsageError
from brittle.core.traits import AttackTraits, StoredImages
from brittle.types import Batch, Model
from brittle.types.rng import Rng
from brittle.types.threat import Threat

LABEL = "cell.json"  # in a folder of kept images, what they are


def expand(argument: str, /) -> list[str]:
    """The kept sets of images in a run folder, or the set itself that is named.

    Raises:
        MissingError: there is none.
    """
    root = files.expanded(argument)
    folders = (
        [argument]
        if (root / LABEL).is_file()
        else [str(path.parent) for path in sorted(root.glob(f"adversarial/*/{LABEL}"))]
    )
    if not folders:
        raise MissingError(
            f"stored:{argument}: no adversarial images there; make some with brittle run ... --keep-adversarial"
        )
    return folders


@cache
def fingerprint(argument: str, /) -> str:
    """sha256 of what says which cell the images are of, and the sha256 of each of their files."""
    about(argument)
    return files.sha256_of_file(files.expanded(argument) / LABEL)


@cache
def about(argument: str, /) -> Mapping[str, Any]:
    """The cell that the images were made for.

    Raises:
        MissingError: a file is damaged or gone, or an older version wrote them, without their sha256.
    """
    try:
        return files.sealed_folder(files.expanded(argument), LABEL)
    except ValueError as error:
        remedy = "make them again with the command that made them, with --keep-adversarial"
        raise MissingError(f"stored:{argument}: {error}; {remedy}") from None


@cache
def _images(argument: str) -> ImageStore:
    return ImageStore(files.expanded(argument))


def stored(argument: str, model: Model, batch: Batch, threat: Threat, rng: Rng, /) -> Tensor:
    """The images kept under ``argument`` for the images of ``batch``, as in ``stored:RUN``.

    Args:
        argument: a run folder, or one set of images in its folder ``adversarial``; ``brittle run ...
            --keep-adversarial`` keeps them.

    Raises:
        MissingError: one of the images is not among them.
        UsageError: they are of another size than this encoder or task looks at.
    """
    tensors = _images(argument).get(batch.ids)
    if tensors is None:
        raise MissingError(
            f"stored:{argument}: has not all images of this cell ({batch.ids[0]} ...); keep the same data set and limit"
        )
    images = tensors["images"].to(batch.images)
    if images.shape != batch.images.shape:
        sizes = " and ".join("x".join(map(str, batched.shape[-2:])) for batched in (images, batch.images))
        raise UsageError(f"stored:{argument}: its images and those of this cell are {sizes}; take encoders of one size")
    return images


TRAITS = AttackTraits(sees="nothing", stored=StoredImages(expand, fingerprint, about))
