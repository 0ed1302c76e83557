"""The download of a data set, where torchvision or the hub has a reader for it."""

from pathlib import Path

from brittle.core import components
from brittle.core.errors import MissingError, UsageError
from brittle.core.text import brief
from brittle.core.traits import DatasetTraits
from brittle.datasets.parts.listed import library


def traits_of(name: str) -> DatasetTraits:
    """What a data set says of itself."""
    traits = components.component("datasets", name).traits
    assert isinstance(traits, DatasetTraits)
    return traits


def download(text: str) -> Path:
    """Download a data set with torchvision's or the hub's own reader, which verify it; returns its folder.

    Raises:
        UsageError: there is no reader for it, or no folder is given.
        MissingError: it could not be downloaded.
    """
    full = components.complete("datasets", text)
    traits = traits_of(full.name)
    by_hand = f"get it from {traits.source}"
    if traits.download is None:
        others = ", ".join(name for name in components.names("datasets") if traits_of(name).download)
        raise UsageError(
            f"{full.name} cannot be fetched for you (readers exist for {others}); {by_hand}; layout: {traits.layout}"
        )
    if not full.argument:
        raise UsageError(f"{full.name}: say where to put it, brittle data download {full.name}:DIR")
    try:
        if callable(traits.download):
            return traits.download(full.argument, **full.settings)
        reader, settings = traits.download
        for options in settings:
            root = str(Path(full.argument).expanduser())
            getattr(library("torchvision.datasets"), reader)(root, download=True, **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise MissingError(
            f"{full.name}: could not be fetched ({brief(error)}); {by_hand} yourself; layout: {traits.layout}"
        ) from None
    return Path(full.argument).expanduser()
