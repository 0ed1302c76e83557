"""An encoder with the head that was fitted on it, as ``brittle.save_model`` wrote it: ``model:file:depth.safetensors``.

The file holds the head and a card that names the encoder, whose weights are where they were.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load
from torch import Tensor, nn

from brittle.core import components, files
from brittle.core.errors import MissingError, UsageError
from brittle.core.traits import Ability, ModelTraits
from brittle.encoders.parts import cards
from brittle.encoders.parts.wrappers import described
from brittle.planning.identity import task_of, weights_of
from brittle.tasks.parts.standardised import Standardised
from brittle.types import Encoder, Frame, Memory, Model, Network
from brittle.types.encoder import Look
from brittle.types.network import Logits


class Pipeline(nn.Module):
    """Images [B,3,H,W] in [0,1] through an encoder and a head."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network = model

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


def file(argument: str, /, *, base: str = "") -> Network:
    """The encoder and the head of a file.

    Args:
        argument: path of what ``brittle.save_model`` wrote.
        base: the encoder's spec, where the card alone may not name it: one that runs your code, or would be fetched.

    Raises:
        MissingError: no such file, or its encoder is not there.
        UsageError: it holds no head, the encoder has other weights now, or the two do not fit.
    """
    path, known = _card(argument)
    spec = base or cards.harmless(path, known["base"])
    if weights_of(spec) != known["weights"]:
        raise UsageError(f"{path}: {spec} has other weights than the head was fitted on; get those, or save it again")
    encoder = components.build("encoders", spec)
    assert isinstance(encoder, Encoder)
    task, look = task_of(known["task"]), Look(tuple(known["layers"]), bool(known["norm"]))
    width = look.width(encoder.dim)
    bare = task.head(width, len(known["classes"]))
    head = bare if isinstance(bare, Memory) else Standardised(bare, width, task.reads)
    try:
        head.load_state_dict(load(path.read_bytes()))
    except RuntimeError as error:
        raise UsageError(f"{path}: its head does not fit {spec} ({' '.join(str(error).split())[:120]})") from None
    model = Model(task, head, encoder, look=look, reads=known["reads"]).eval()
    about = described(
        encoder,
        sha256=known["sha256"],
        licence=str(encoder.about.get("licence", "unknown")),
        source=f"model:file:{argument}",
        fingerprint=fingerprint(argument, base=base),
    )
    frame = Frame(int(known["size"]), pixels="bicubic", window=int(known["window"]))
    return Network(
        Pipeline(model).eval(),
        tuple(task.abilities),
        frame,
        about=about,
        logits=Logits(known["classes"]),
        encoder=encoder,
    ).eval()


def fingerprint(argument: str, /, *, base: str) -> str:
    """A hash over the file, and the encoder's weights as they are."""
    path, known = _card(argument)
    own = weights_of(base or cards.harmless(path, known["base"]))
    return files.mixed(files.sha256_of_file(path), base=base, own=own)


def predicts(argument: str, /, **_settings: Any) -> Sequence[Ability]:
    """The abilities of the head's task."""
    return tuple(task_of(_card(argument)[1]["task"]).abilities)


def features(**_settings: Any) -> str:
    """Its encoder is one."""
    return "encoder"


def _card(argument: str) -> tuple[Path, dict[str, Any]]:
    """The path, and what its card says.

    Raises:
        MissingError, UsageError: there is no such file, or none with a head.
    """
    path = Path(argument).expanduser()
    if not path.is_file():
        raise MissingError(f"model:file: no file {path}; write one with brittle.save_model")
    known = cards.card(path)
    wanted = {
        "weights": str,
        "task": str,
        "classes": list,
        "layers": list,
        "norm": bool,
        "reads": list,
        "size": int,
        "window": int,
    }
    wrong = [key for key, kind in wanted.items() if not isinstance(known.get(key), kind)]
    if wrong:
        what = f"{path} holds no head (its card lacks {', '.join(wrong[:3])})"
        raise UsageError(f"{what}; take -e file: for an encoder, or write it with brittle.save_model")
    return path, known


TRAITS = ModelTraits(fingerprint=fingerprint, predicts=predicts, features=features)
