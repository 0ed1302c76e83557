"""Models on the hub: what of them is in the cache, downloaded, or lies in a folder."""

from pathlib import Path

from brittle.core.errors import MissingError, UsageError

PLAIN = ["config.json", "preprocessor_config.json", "README.md"]


def foreign(repository: str, name: str, revision: str = "") -> str:
    """What is not in the cache would be fetched: why a card beside weights may not ask for it; empty where it is."""
    from huggingface_hub import try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(repository, name, revision=revision or None)
    except ValueError:  # no name on the hub
        return ""
    return "" if isinstance(cached, str) else "would be fetched from the hub"


def fetched(label: str, repository: str, *names: str) -> Path:
    """The first of these files that a model on the hub has, from the cache or downloaded.

    Raises:
        MissingError: it has none, or there is no network.
    """
    from huggingface_hub import hf_hub_download

    reasons: list[str] = []
    for name in names:
        try:
            return Path(hf_hub_download(repository, name))
        except (OSError, ValueError) as error:
            reasons.append(" ".join(str(error).split())[:80])
    raise MissingError(f"{label}: {names[0]} could not be downloaded ({'; '.join(reasons)}); run once with a network")


def snapshot(argument: str, revision: str, pretrained: bool) -> Path:
    """The folder of a model of transformers: the one given, or the hub's snapshot of it, from the cache or downloaded.

    Raises:
        MissingError: it is not there.
    """
    if not argument:
        raise UsageError("hf needs the name of a model; write hf:ORG/NAME or hf:FOLDER")
    local = Path(argument).expanduser()
    if local.is_dir():
        if not (local / "config.json").is_file():
            raise MissingError(f"no config.json in {local}; save the model there with save_pretrained")
        return local
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        tensors = ["model.safetensors", "model-*.safetensors", "model.safetensors.index.json"] if pretrained else []
        folder = Path(snapshot_download(argument, revision=revision or None, allow_patterns=[*PLAIN, *tensors]))
        if pretrained and not any(folder.glob("model*.safetensors")):
            pickles = [*PLAIN, "pytorch_model*"]
            folder = Path(snapshot_download(argument, revision=revision or None, allow_patterns=pickles))
    except HFValidationError:
        raise MissingError(f"hf:{argument} is neither a folder nor a name on the hub (ORG/NAME)") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise MissingError(
            f"hf:{argument} could not be downloaded ({reason}); run once with a network, or give a folder in its place"
        ) from None
    if not (folder / "config.json").is_file():
        raise MissingError(
            f"hf:{argument} has no config.json in the cache or on the hub; run once with a network, or give a folder"
        )
    return folder
