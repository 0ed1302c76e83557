"""Models as transformers saves them: a folder with config.json and weights, built and filled without any code or
pickle of it."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from brittle.core import files, installed
from brittle.core.errors import BrittleError, MissingError, UsageError
from brittle.encoders.parts import checkpoints
from brittle.encoders.parts.wrappers import bounded
from brittle.types import weight_files
from brittle.types.weight_files import INDEX, shards


def sha256(folder: Path) -> str:
    """sha256 of the weights' file; of all their hashes where there are several."""
    shas = [_hashed(path, path.stat().st_mtime_ns, path.stat().st_size) for path in weights(folder)]
    return shas[0] if len(shas) == 1 else files.sha256(" ".join(shas).encode())


@lru_cache(maxsize=256)
def _hashed(path: Path, _changed: int, _size: int) -> str:
    return files.sha256_of_file(path)


def weights(folder: Path) -> list[Path]:
    """The files of the weights, as transformers chooses them: safetensors first."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        whole, index = folder / name, folder / f"{name}{INDEX}"
        paths = [whole] if whole.is_file() else shards(index) if index.is_file() else []
        absent = [path.name for path in paths if not path.is_file()]
        if absent:
            raise MissingError(f"{folder} has no {', '.join(absent[:3])}, which its index names; get the model again")
        if paths:
            return paths
    raise MissingError(f"no weights in {folder}; there should be model.safetensors or pytorch_model.bin")


def class_of(name: str, label: str) -> Any:
    """A class of transformers; MissingError where that is not installed."""
    try:
        import transformers
    except ImportError:
        raise MissingError(f"{label} {installed.needs('transformers')}") from None
    return getattr(transformers, name)


def tried(label: str, cls: Any, config: Any, **options: Any) -> None:
    """Make the model without memory, so that sizes which make none, or one too large, are refused."""
    try:
        with torch.device("meta"):
            bounded(cls(config, **options), label)
    except BrittleError:
        raise
    except Exception as error:  # values that the class makes no sense of
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise UsageError(f"{label}: its config.json makes no {cls.__name__} ({why})") from None


def random(cls: Any, config: Any, **options: Any) -> Any:
    """The model with random weights from seed 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return cls(config, **options).eval()


def loaded(label: str, cls: Any, config: Any, folder: Path, **options: Any) -> tuple[Any, dict[str, Any]]:
    """The model with the weights of a folder, in float32, and which of their keys fit."""
    import transformers

    state: dict[str, Any] = {}
    for path in weights(folder):
        found, _ = weight_files.read(path)
        state |= checkpoints.tensors(found)
    level = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        # from tensors alone, so that nothing else in the folder is looked at, such as an adapter
        return cls.from_pretrained(
            None, config=config, state_dict=state, output_loading_info=True, dtype=torch.float32, **options
        )
    except Exception as error:  # keys that the class makes no sense of
        why = weight_files.reason(str(error))
        raise UsageError(f"{label}: its weights do not load as {cls.__name__} ({why})") from None
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()


def licence(folder: Path) -> str:
    """The licence that the model card's header names."""
    card = folder / "README.md"
    lines = card.read_text(encoding="utf8", errors="replace").splitlines()[:60] if card.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("license:")), "") or "unknown"
