"""Models on the hub: what of them is in the cache, downloaded, or lies in a folder."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Thread

from brittle.core.errors import MissingError, UnreachableError, UsageError
from brittle.core.progress import say
from brittle.core.text import brief

WAIT = 4.0  # seconds for the hub's first answer
AGAIN = 60  # seconds after which one that did not answer is asked again
PLAIN = ["config.json", "preprocessor_config.json", "README.md"]


@contextmanager
def asked() -> Generator[None]:
    """Around whatever may ask the hub: one that does not answer is asked once, not five times for each file, and what
    is in the cache is used."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or _answers(int(time.monotonic() // AGAIN)):
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


@lru_cache(maxsize=1)
def _answers(_now: int) -> bool:
    """Whether the hub answers at all; where not, that is said."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    answers: list[object] = []

    def ask() -> None:
        try:
            answers.append(get_session().head(constants.ENDPOINT, timeout=WAIT))
        except Exception as error:  # noqa: BLE001 - of whichever client the hub's package uses
            answers.append(error)

    thread = Thread(target=ask, daemon=True)  # a name server may take longer than any timeout of a client
    thread.start()
    thread.join(WAIT)
    reached = bool(answers) and not isinstance(answers[0], Exception)
    if not reached:
        say(f"{constants.ENDPOINT} cannot be reached; only what is in its cache is used", always=True)
    return reached


def reason(error: Exception) -> str:
    """Why something of the hub is not there, in few words."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    if isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled)):
        return "not in the cache, and the hub is not asked or does not answer"
    return brief(error)


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
            with asked():
                return Path(hf_hub_download(repository, name))
        except (OSError, ValueError) as error:
            reasons.append(reason(error))
    why = "; ".join(dict.fromkeys(reasons))
    raise UnreachableError(f"{label}: {names[0]} could not be downloaded ({why}); run once with a network")


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
        with asked():
            folder = Path(snapshot_download(argument, revision=revision or None, allow_patterns=[*PLAIN, *tensors]))
            if pretrained and not any(folder.glob("model*.safetensors")):
                pickles = [*PLAIN, "pytorch_model*"]
                folder = Path(snapshot_download(argument, revision=revision or None, allow_patterns=pickles))
    except HFValidationError:
        raise MissingError(f"hf:{argument} is neither a folder nor a name on the hub (ORG/NAME)") from None
    except (OSError, ValueError) as error:
        instead = "run once with a network, or give a folder in its place"
        raise UnreachableError(f"hf:{argument} could not be downloaded ({reason(error)}); {instead}") from None
    if not (folder / "config.json").is_file():
        raise MissingError(
            f"hf:{argument} has no config.json in the cache or on the hub; run once with a network, or give a folder"
        )
    return folder
