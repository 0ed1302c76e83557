"""The folder that runs share: which kinds of things are kept in it, what each is for, and whether it comes back."""

from pathlib import Path
from typing import NamedTuple

from brittle.core import files


class Layout(NamedTuple):
    """How files of a kind lie below its folder, as patterns: whole ones, those that are being written, locks.
    Whatever lies there under another name is somebody else's."""

    whole: str
    unfinished: str
    lock: str = "(?!)"  # none


class Kind(NamedTuple):
    """One kind of what is kept.

    Args:
        what: it is, in words.
        layout: of its files.
        again: is it made again when it is wanted, as it was?
    """

    what: str
    layout: Layout
    again: bool = True


_HASHED, _BEGIN, _RANDOM = r"([0-9a-f]{2})/\1[0-9a-f]{62}", r"\.[0-9a-f]{40}\.", "[a-z0-9_]{8}"
_CHUNKS, _CHUNK = "v[0-9]+-[0-9]+px-seed[0-9]+/", r"[a-z]+-[0-9]{5}\.safetensors"
TENSORS = Layout(rf"{_HASHED}\.safetensors", f"[0-9a-f]{{2}}/{_BEGIN}{_RANDOM}", rf"{_HASHED}\.lock")
"""Tensors with a seal in their header, as ``evaluation.cache`` keeps them; all others are bytes behind their sha256."""
NOTES = Layout("[0-9a-f]{64}", f"{_BEGIN}{_RANDOM}")
CHUNKS = Layout(f"{_CHUNKS}{_CHUNK}", rf"{_CHUNKS}\.{_CHUNK}\.{_RANDOM}")
KINDS = {
    "features": Kind("what encoders make of images; heads are fitted on it", TENSORS),
    "targets": Kind("masks and depth maps as heads are fitted on them", TENSORS),
    "heads": Kind("fitted heads", TENSORS),
    "adversarial": Kind("attacked images that all heads of an encoder share", TENSORS),
    "universal": Kind("perturbations learnt once for all images", TENSORS),
    "scenes": Kind("rendered images", CHUNKS),
    "looked_at": Kind("notes on splits whose targets are sound", NOTES),
    "rates": Kind("how fast this machine is, for forecasts", NOTES),
    "checked": Kind("what splits held when first checked, to notice a change", NOTES, again=False),
}
"""All that runs share, by the folder it lies in."""


def folder(kind: str) -> Path:
    """Where things of a kind lie."""
    assert kind in KINDS, f"say in KINDS what {kind} is"
    return files.cache() / kind
