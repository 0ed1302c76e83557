"""How brittle is your vision encoder? One tool that attacks encoders and whole pipelines on classification,
segmentation and depth."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from brittle.api import attack, check, finetune, load_dataset, load_encoder, load_model, read_run, run, save_model

__all__ = ["attack", "check", "finetune", "load_dataset", "load_encoder", "load_model", "read_run", "run", "save_model"]


def __dir__() -> list[str]:
    """What is for users; the folders beside it are not."""
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    """The Python words are imported when first used, so that the command line and reports start without torch."""
    if name == "__version__":
        metadata = import_module("importlib.metadata")
        try:
            return metadata.version("brittle")
        except metadata.PackageNotFoundError:  # run from its sources
            return "not installed"
    if name in __all__:
        return getattr(import_module("brittle.api"), name)
    raise AttributeError(f"module 'brittle' has no attribute {name!r}")
