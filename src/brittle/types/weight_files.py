"""Files of weights as they lie on a disk: read without running anything in them, and called what they are where they
hold none."""

import argparse
import codecs
import io
import json
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brittle.core import files
from brittle.core.errors import MissingError, UsageError

INDEX = ".index.json"
"""Ending of the file that says which tensors are in which shard."""
_scalar: Any = np.float64(0).__reduce__()[0]
_NUMBERS = (np.float16, np.float32, np.float64, np.bool_, np.uint8, np.uint16, np.uint32, np.uint64)
SAFE: list[Any] = [
    argparse.Namespace,
    np.dtype,
    _scalar,
    (_scalar, "numpy.core.multiarray.scalar"),  # as numpy 1 wrote it
    (codecs.encode, "_codecs.encode"),  # of the bytes of a scalar
    *(type(np.dtype(kind)) for kind in (*_NUMBERS, np.int8, np.int16, np.int32, np.int64)),
]
"""What a pickle may name besides tensors and plain data: settings of a run, and numbers of numpy."""
_ROOM = 2**26  # bytes that tensors may take beyond what their file suggests
_SIGNS = (
    (b"version https://git-lfs", "a pointer of Git LFS in place of the file; get it with git lfs pull"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"\x89HDF", "an HDF5 file, as of Keras; only PyTorch's weights are read"),
    (b"\x93NUMPY", "an array of numpy; only PyTorch's weights are read"),
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"BZh", "a bzip2 archive; unpack it"),
    (b"\xfd7zXZ", "an xz archive; unpack it"),
    (b"GGUF", "a GGUF file; only PyTorch's weights are read"),
)


def read(path: Path) -> tuple[Any, str]:
    """What a checkpoint holds and the sha256 of the bytes it was read from. Nothing in it is run. An index of shards is
    read with its shards.

    Raises:
        MissingError: no such file.
        UsageError: it is not a checkpoint, or a pickle that names anything but tensors, plain data and ``SAFE``.
    """
    if not path.name.endswith(INDEX):
        data = _bytes(path)
        return _loaded(path, data), files.sha256(data)
    tensors: dict[str, Any] = {}
    shas: list[str] = []
    for part in _parts(path):
        data = _bytes(part)
        shas.append(files.sha256(data))
        if part != path:
            tensors |= _loaded(part, data)
    return tensors, files.sha256(" ".join(shas).encode())


def sha256_of(path: Path) -> str:
    """The sha256 that ``read`` gives, without holding the file."""
    parts = [path] if not path.name.endswith(INDEX) else _parts(path)
    for part in parts:
        if not part.is_file():
            raise _missing(part)
    shas = [files.sha256_of_file(part) for part in parts]
    return shas[0] if len(shas) == 1 else files.sha256(" ".join(shas).encode())


def shards(index: Path) -> list[Path]:
    """The files that an index names, which lie beside it.

    Raises:
        UsageError: it is no index, or names a file elsewhere.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf8"))["weight_map"].values()))
        plain = all(Path(name).name == name for name in names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        names, plain = [], False
    if not names or not plain:
        raise UsageError(f"{index}: is no index of shards; it needs weight_map, with names of files beside it")
    return [index.with_name(name) for name in names]


def _parts(index: Path) -> list[Path]:
    if not index.is_file():
        raise _missing(index)
    return [index, *shards(index)]


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise _missing(path)
    return path.read_bytes()


def _missing(path: Path) -> MissingError:
    return MissingError(
        f"no file {path}; put the checkpoint there, as its authors publish it (.pth, .pt, .ckpt or .safetensors)"
    )


def _loaded(path: Path, data: bytes) -> Any:
    what = foreign(data)
    if what:
        raise UsageError(f"{path}: is no checkpoint that can be read: it is {what}")
    try:
        if data[8:9] == b"{":
            from safetensors.torch import load

            loaded: Any = load(data)
        else:
            _refuse_packed(data)
            with torch.serialization.safe_globals(SAFE):
                loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        _refuse_spread(loaded, len(data))
    except Exception as error:  # a damaged or hostile file can raise anything
        why = reason(str(error) or type(error).__name__)
        how = "refused," if "could run code" in why else "is no checkpoint that can be read:"
        raise UsageError(f"{path}: {how} {why}") from None
    return loaded


def foreign(data: bytes) -> str:
    """What a file is that is no checkpoint by its first bytes; empty where it may be one."""
    if not data:
        return "empty"
    for sign, what in _SIGNS:
        if data.startswith(sign):
            return what
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if re.match(rb"<(!doctype|html|head|\?xml)", start, re.IGNORECASE):
        return "an HTML or XML page, such as a server's error; download it again"
    if data[257:262] == b"ustar":
        return ""  # torch's oldest format is a tar
    names = _members(data) if data.startswith(b"PK\x03\x04") else []
    if names and not any(name.endswith("data.pkl") for name in names):
        return f"a zip archive of {', '.join(names[:3])[:80]}; unpack it"
    try:
        text = data[:512].decode("utf8")
    except UnicodeDecodeError as error:
        text = "" if error.start < len(data[:512]) - 4 else data[: error.start].decode("utf8")
    if text and all(letter.isprintable() or letter in "\t\r\n" for letter in text):
        return f"text ({' '.join(text.split())[:40]!r})"
    return ""


def _members(data: bytes) -> list[str]:
    """The names in a zip; none where it is damaged, which its reader then says."""
    try:
        return zipfile.ZipFile(io.BytesIO(data)).namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, struct.error):
        return []


def _refuse_packed(data: bytes) -> None:
    """A zip that unpacks to much more than it is."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        total = sum(each.file_size for each in zipfile.ZipFile(io.BytesIO(data)).infolist())
        if total > 4 * len(data) + _ROOM:
            raise ValueError(f"it unpacks to {total} bytes from {len(data)}")


def _refuse_spread(loaded: Any, size: int) -> None:
    """Tensors of many values that are stored as few."""
    total = sum(value.numel() * value.element_size() for value in _tensors(loaded))
    if total > 16 * size + _ROOM:
        raise ValueError(f"its tensors take {total} bytes, the file has {size}")


def _tensors(loaded: Any, depth: int = 0) -> Iterator[Tensor]:
    if isinstance(loaded, Tensor):
        yield loaded
    elif isinstance(loaded, Mapping) and depth < 4:
        for value in loaded.values():
            yield from _tensors(value, depth + 1)


def reason(error: str) -> str:
    """One line of torch's reason for refusing a checkpoint: what its pickle asks for, where that could run code."""
    if "TorchScript" in error:
        return "it is a TorchScript program, which could run code; save its state_dict as .safetensors"
    named = re.search(r"(?:GLOBAL|class|global|function)\s+`?([\w.]+\.[\w.]+)", error)
    if "weights only" in error.lower() or "weights_only" in error.lower():
        asked = f"asks for {named.group(1)}" if named else "holds more than weights"
        return f"its pickle {asked}, which could run code; keep only the tensors and save them as .safetensors"
    return " ".join(error.split())[:160] or "damaged"
