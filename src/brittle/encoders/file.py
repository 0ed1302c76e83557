"""An encoder from a file: what ``brittle finetune`` wrote, or a checkpoint as published,
``file:dino_vitbase16_pretrain.pth``.

What ``brittle finetune`` writes has a card beside it that says everything. Any other checkpoint is read as its
authors publish it: DINO, DINOv2, MAE, MoCo v3, SimCLR, SimSiam, DeACL, torchvision's ResNets. A folder or a pattern
stands for a history: one row per file.
"""

import glob
import json
import re
from pathlib import Path
from typing import Any, Literal

from brittle.core import files
from brittle.core.errors import MissingError, UsageError
from brittle.core.traits import EncoderTraits
from brittle.types import Count, Encoder

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")
Colour = tuple[()] | tuple[float, float, float]


def file(
    argument: str,
    /,
    *,
    arch: str = "",
    part: str = "",
    size: Count = 0,
    interpolation: Literal["authors", "timm"] = "authors",
    mean: Colour = (),
    std: Colour = (),
) -> Encoder:
    """The encoder in a file.

    Args:
        argument: path of a checkpoint (.pth, .pt, .ckpt, .bin, .tar or .safetensors).
        arch: its architecture, such as dino_vitb16; empty where the keys say it for certain.
        part: which encoder, where a checkpoint holds several, such as student; empty for the one its authors evaluate.
        size: edge of the images it is used at; 0 for its native size.
        interpolation: of position embeddings at other sizes: as the authors of the checkpoint do it, or as timm does
            (antialiased).
        mean, std: of its inputs, 3 values each; empty for the authors'.

    Raises:
        MissingError: no such file, or no card beside fine-tuned weights.
        UsageError: its content would run code, is not a known encoder, or does not fit: the first five keys and the
            coverage.
    """
    (path,) = _paths(argument, one=True)
    settings = {"arch": arch, "part": part, "size": size, "interpolation": interpolation, "mean": mean, "std": std}
    if path.suffix == ".safetensors" and path.with_suffix(".json").is_file():
        return _tuned(path, settings)
    from brittle.encoders.parts.architectures import architecture, renamed
    from brittle.encoders.parts.checkpoints import cleaned, find, fit, read
    from brittle.encoders.parts.projectors import projector
    from brittle.encoders.parts.wrappers import TimmEncoder, described

    loaded, sha = read(path)
    if path.suffix == ".safetensors" and all(str(key).startswith("network.") for key in loaded):
        _card(path)
    candidate = find(loaded, path, part)
    state = renamed(cleaned(candidate.state))
    name, known = architecture(arch, candidate, state, path)
    import torch

    with torch.device("meta"):
        network: Any = known.make()
    if interpolation == "timm":
        network.offset, network.antialias = 0.0, True
    fit(network, state, known.extras, f"{path} as {name}", candidate.others)
    colours = [_colour(state, "mean") or known.colours[0], _colour(state, "std") or known.colours[1]]
    licence, identity = f"{known.licence} (the authors' weights)", fingerprint_of(sha, settings)
    about = described(network, sha256=sha, licence=licence, source=f"file:{path}", fingerprint=identity)
    about |= {"arch": name, "place": candidate.place}
    encoder = TimmEncoder(
        network, known.patch, size=size or known.size, mean=mean or colours[0], std=std or colours[1], about=about
    )
    encoder.projector, what = projector(loaded, candidate.place, encoder.dim)
    encoder.about |= {"projector": what} if what else {}
    return encoder


def validate(argument: str, /, **settings: Any) -> None:
    """Read the file once, before any work starts, so that whatever ``file`` refuses is refused then."""
    file(argument, **settings)


def fingerprint(argument: str, /, **settings: Any) -> str:
    """sha256 of the file, mixed with the settings; the network is not built."""
    (path,) = _paths(argument, one=True)
    return fingerprint_of(files.sha256_of_file(path), settings)


def fingerprint_of(sha: str, settings: dict[str, Any]) -> str:
    """The fingerprint of a file of that sha256 under those settings; the sha256 itself where all are at their
    defaults."""
    return files.mixed(
        sha, **{key: value for key, value in settings.items() if (key, value) != ("interpolation", "authors")}
    )


def expand(argument: str, /) -> list[str]:
    """The checkpoints that a folder or a pattern stands for, in natural order (epoch 2 before epoch 10); a file stands
    for itself."""
    return [str(path) for path in _paths(argument)]


def _paths(argument: str, one: bool = False) -> list[Path]:
    path = Path(argument).expanduser()
    if not argument:
        raise UsageError("file needs a path; write file:PATH")
    if path.is_file():
        return [path]
    if path.is_dir():
        paths = [item for item in path.iterdir() if item.suffix in SUFFIXES and not item.name.startswith(".")]
    elif glob.has_magic(str(path)):
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 - an absolute pattern as well
        paths = [item for item in map(Path, matches) if item.is_file() and item.suffix in SUFFIXES]
    else:
        raise MissingError(
            f"no file {path}; give a checkpoint ({', '.join(SUFFIXES)}), a folder of them, or a pattern such as "
            "runs/*.ckpt"
        )
    if not paths:
        raise MissingError(f"no checkpoint in {path}; looked for {', '.join(SUFFIXES)}")
    if one and len(paths) > 1:
        raise UsageError(f"{path} holds {len(paths)} checkpoints; one encoder is one file, a run takes them all")
    return sorted(
        paths,
        key=lambda item: [(int(text), "") if text.isdigit() else (-1, text) for text in re.split(r"(\d+)", str(item))],
    )


def _colour(state: dict[str, Any], name: str) -> list[float]:
    """Mean or std held by the checkpoint itself, where its network normalised its inputs."""
    value = state.get(f"normalize.{name}")
    return [float(number) for number in value.flatten()] if value is not None and value.numel() == 3 else []


def _tuned(path: Path, settings: dict[str, Any]) -> Encoder:
    """The encoder named in the card beside the weights (its spec and the sha256), with these weights in its place."""
    from safetensors.torch import load

    from brittle.core import components

    card = _card(path)
    data = path.read_bytes()
    sha = files.sha256(data)
    if sha != card["sha256"]:
        raise UsageError(f"{path}: sha256 is not the card's {card['sha256'][:12]}; the file was changed or cut short")
    for key, value in settings.items():
        if value not in ("", 0, (), "authors"):
            raise UsageError(
                f"{path}: {key}={value} cannot be set; the card beside the file says what it is ({card['base']})"
            )
    encoder: Encoder = components.build("encoders", card["base"])
    encoder.projector = None  # it was trained with the encoder before tuning
    encoder.about.pop("projector", None)
    state, expected = load(data), encoder.state_dict()
    mismatched = sorted(state.keys() ^ expected.keys())
    mismatched += sorted(key for key in state.keys() & expected.keys() if state[key].shape != expected[key].shape)
    if mismatched:
        share = len(state.keys() & expected.keys()) / max(len(expected), 1)
        raise UsageError(f"{path}: does not fit {card['base']} ({share:.0%} of its keys): {', '.join(mismatched[:5])}")
    encoder.load_state_dict(state)
    encoder.about.update(sha256=sha, source=f"file:{path}", fingerprint=sha)
    return encoder


def _card(path: Path) -> dict[str, str]:
    for wanted in (path, path.with_suffix(".json")):
        if not wanted.is_file():
            raise MissingError(
                f"no file {wanted}; brittle finetune writes encoder.safetensors and encoder.json side by side"
            )
    try:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf8"))
        return {"base": str(card["base"]), "sha256": str(card["sha256"])}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path.with_suffix('.json')}: is no card of an encoder ({error!r}); write it with brittle finetune"
        ) from None


TRAITS = EncoderTraits(fingerprint=fingerprint, validate=validate, expand=expand)
