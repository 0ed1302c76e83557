"""An encoder from a file: what ``brittle finetune`` wrote, or a checkpoint as published,
``file:dino_vitbase16_pretrain.pth``.

What ``brittle finetune`` writes has a card inside that says everything. Any other checkpoint is read as its
authors publish it: DINO, DINOv2, MAE, MoCo v3, SimCLR, SimSiam, DeACL, torchvision's ResNets. A folder or a pattern
stands for a history: one row per file.
"""

import glob
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from brittle.core import files
from brittle.core.errors import MissingError, UsageError
from brittle.core.progress import say
from brittle.core.traits import EncoderTraits
from brittle.encoders.parts import cards
from brittle.encoders.parts.wrappers import Size
from brittle.types import Encoder
from brittle.types.weight_files import INDEX, read, sha256_of, shards

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar", INDEX)
READING = 2
"""Raised whenever another encoder is found in a file, or the same one is used otherwise."""
Colour = tuple[()] | tuple[float, float, float]


def file(
    argument: str,
    /,
    *,
    arch: str = "",
    part: str = "",
    size: Size = 0,
    interpolation: Literal["authors", "timm"] = "authors",
    mean: Colour = (),
    std: Colour = (),
    base: str = "",
) -> Encoder:
    """The encoder in a file.

    Args:
        argument: path of a checkpoint (.pth, .pt, .ckpt, .bin, .tar, .safetensors, or the .index.json of shards).
        arch: its architecture, such as dino_vitb16; empty where the keys say it for certain.
        part: which encoder, where a checkpoint holds several, such as student; empty for the one its authors evaluate.
        size: edge of the images it is used at; 0 for its native size.
        interpolation: of position embeddings at other sizes: as the authors of the checkpoint do it, or as timm does
            (antialiased).
        mean, std: of its inputs, 3 values each; empty for the authors'.
        base: of what ``brittle finetune`` wrote, the spec of the encoder that was tuned, where its card alone may not
            name it: one that runs your code, or that would be fetched.

    Raises:
        MissingError: no such file, or no card of fine-tuned weights.
        UsageError: its content would run code, is not a known encoder, or does not fit: the first five keys and the
            coverage.
    """
    (path,) = _paths(argument, one=True)
    settings: dict[str, Any] = {"arch": arch, "part": part, "size": size, "interpolation": interpolation}
    settings |= {"mean": mean, "std": std}
    _refuse_colours(path, mean, std)
    if cards.has_one(path):
        return cards.tuned(path, base, settings)
    if base:
        raise UsageError(f"{path}: base={base} is for what brittle finetune wrote, which has a card")
    return _published(path, **settings)


def _published(
    path: Path, *, arch: str, part: str, size: int, interpolation: str, mean: Sequence[float], std: Sequence[float]
) -> Encoder:
    """The encoder in a checkpoint as its authors publish it."""
    settings = {"arch": arch, "part": part, "size": size, "interpolation": interpolation, "mean": mean, "std": std}
    from brittle.encoders.parts.architectures import architecture, renamed
    from brittle.encoders.parts.checkpoints import cleaned, find, fit
    from brittle.encoders.parts.projectors import projector
    from brittle.encoders.parts.timm_network import TimmEncoder
    from brittle.encoders.parts.wrappers import described

    loaded, sha = read(path)
    if path.suffix == ".safetensors" and all(str(key).startswith("network.") for key in loaded):
        cards.card(path)
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
    _tell(path, name, candidate.place, encoder)
    encoder.projector, what = projector(loaded, candidate.place, encoder.dim)
    encoder.about |= {"projector": what} if what else {}
    return encoder.eval()


def validate(argument: str, /, **settings: Any) -> None:
    """Read the file once, before any work starts, so that whatever ``file`` refuses is refused then."""
    file(argument, **settings)


def fingerprint(argument: str, /, *, base: str = "", **settings: Any) -> str:
    """sha256 of the file, mixed with the settings, or with what its card says; the network is not built."""
    (path,) = _paths(argument, one=True)
    return cards.fingerprint(path, base) if cards.has_one(path) else fingerprint_of(sha256_of(path), settings)


def fingerprint_of(sha: str, settings: dict[str, Any]) -> str:
    """The fingerprint of a checkpoint of that sha256 under those settings."""
    given = {key: value for key, value in settings.items() if (key, value) != ("interpolation", "authors")}
    return files.mixed(sha, reading=READING, **given)


@cache
def _tell_once(text: str) -> None:
    say(text)


def _tell(path: Path, name: str, place: str, encoder: Encoder) -> None:
    """Say what a file was read as; its keys alone do not tell the colours that it was trained with."""
    mean, std = (" ".join(f"{value:g}" for value in part.flatten().tolist()) for part in (encoder.mean, encoder.std))
    where = f" ({place.strip(':.')})" if place.strip(":.") else ""
    hint = "" if where else "; if timm saved it, timm:NAME(checkpoint=FILE) has its own mean and std"
    _tell_once(f"{path} is read as {name}{where}, mean {mean}, std {std}{hint}")


def _refuse_colours(path: Path, mean: Sequence[float], std: Sequence[float]) -> None:
    if not all(abs(value) < 1000 for value in (*mean, *std)) or not all(value > 0 for value in std):
        raise UsageError(f"{path}: mean={list(mean)}, std={list(std)}; give finite numbers for [0, 1], std above 0")


def expand(argument: str, /) -> list[str]:
    """The checkpoints that a folder or a pattern stands for, in natural order (epoch 2 before epoch 10), or by the
    steps that all their cards name; a file stands for itself."""
    return [str(path) for path in _paths(argument)]


def _paths(argument: str, one: bool = False) -> list[Path]:
    path = Path(argument).expanduser()
    if not argument:
        raise UsageError("file needs a path; write file:PATH")
    if path.is_file():
        return [path]
    if path.is_dir():
        paths = [item for item in path.iterdir() if item.name.endswith(SUFFIXES) and not item.name.startswith(".")]
        paths = _whole(paths)
    elif glob.has_magic(str(path)):
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 - an absolute pattern as well
        paths = _whole([item for item in map(Path, matches) if item.is_file() and item.name.endswith(SUFFIXES)])
    else:
        raise MissingError(
            f"no file {path}; give a checkpoint ({', '.join(SUFFIXES)}), a folder of them, or a pattern such as "
            "runs/*.ckpt"
        )
    if not paths:
        raise MissingError(f"no checkpoint in {path}; looked for {', '.join(SUFFIXES)}")
    if one and len(paths) > 1:
        raise UsageError(f"{path} holds {len(paths)} checkpoints; one encoder is one file, a run takes them all")
    parts = {item: re.split("([0-9]+)", str(item)) for item in paths}
    natural = sorted(
        paths, key=lambda item: [(int(text), "") if place % 2 else (-1, text) for place, text in enumerate(parts[item])]
    )
    known = {item: cards.history(item) for item in paths}
    return sorted(natural, key=lambda item: known[item]["step"]) if all(known.values()) else natural


def _whole(paths: list[Path]) -> list[Path]:
    """Without the shards of an index that is there as well."""
    parts = {part for index in paths if index.name.endswith(INDEX) for part in shards(index)}
    return [path for path in paths if path not in parts]


def _colour(state: dict[str, Any], name: str) -> list[float]:
    """Mean or std held by the checkpoint itself, where its network normalised its inputs."""
    value = state.get(f"normalize.{name}")
    return [float(number) for number in value.flatten()] if value is not None and value.numel() == 3 else []


def foreign(*, base: str, **_settings: Any) -> str:
    """A base that the card of another card names was typed by nobody."""
    return f"names a base of its own, {base[:40]}" if base else ""


TRAITS = EncoderTraits(fingerprint=fingerprint, validate=validate, expand=expand, foreign=foreign)
