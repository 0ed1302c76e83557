"""Numbers and text of MATLAB's level 5 .mat files, read here: a damaged file can end the process in the readers of
others."""

import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from brittle.core.errors import MissingError, UsageError

MOST_BYTES = 2**28  # of a file, unpacked too: the files that are read have less than a megabyte
NUMBERS = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d", 12: "q", 13: "Q"}
TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
MATRIX, COMPRESSED = 14, 15
STRUCT, CHAR, CELL, OBJECT = 2, 4, 1, 3


class _Element(NamedTuple):
    """A tagged piece of a file."""

    kind: int
    data: bytes


def read(path: Path) -> Mapping[str, list[Any]]:
    """The variables of a file by name: numbers in the order of the file, text as one string, and for an array of
    structures a dictionary of such lists each. Anything else is left out.

    Raises:
        MissingError: there is no such file.
        UsageError: it is no file of level 5, or it is damaged.
    """
    if not path.is_file():
        raise MissingError(f"no file {path}; it is part of the data set as published")
    data = path.read_bytes() if path.stat().st_size <= MOST_BYTES else b""
    try:
        order = {b"IM": "<", b"MI": ">"}[data[126:128]]
        variables = [_unpacked(element, order) for element in _elements(data[128:], order)]
        return dict(_matrix(each.data, order) for each in variables if each.kind == MATRIX)
    except (struct.error, zlib.error, ValueError, LookupError, OverflowError, RecursionError, TypeError) as error:
        what = f"is no MATLAB file of level 5 or is damaged ({type(error).__name__})"
        raise UsageError(f"{path}: {what}; fetch it again") from None


def vector(path: Path, key: str) -> list[int]:
    """A variable of whole numbers.

    Raises:
        UsageError: as ``read``, or there is none of that name.
    """
    values = read(path).get(key, [])
    if not values or not all(isinstance(value, int | float) and value == value // 1 for value in values):
        raise UsageError(f"{path}: has no whole numbers {key!r}; fetch it again")
    return [int(value) for value in values]


def _elements(data: bytes, order: str) -> Iterator[_Element]:
    place = 0
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        if kind >> 16:  # a small one: size and kind in four bytes, up to four bytes of data after them
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            end = place + 8
        else:
            start = place + 8
            end = start + size + (-size % 8 if kind != COMPRESSED else 0)
        if start + size > len(data):
            raise ValueError("cut short")
        yield _Element(kind, data[start : start + size])
        place = end


def _unpacked(element: _Element, order: str) -> _Element:
    if element.kind != COMPRESSED:
        return element
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(element.data, MOST_BYTES)
    if not unpacker.eof:
        raise ValueError("too large or cut short")
    return next(_elements(data, order))


def _matrix(data: bytes, order: str) -> tuple[str, list[Any]]:
    """Name and values of a matrix; no values for a kind that is not read."""
    parts = list(_elements(data, order))
    if len(parts) < 3:
        return "", []
    kind = parts[0].data[0 if order == "<" else 3]
    name = parts[2].data.decode("latin-1")
    if kind == STRUCT:
        return name, _structures(parts, order)
    if kind == CHAR and len(parts) > 3:
        code = TEXT[parts[3].kind]
        ending = {"<": "-le", ">": "-be"}[order] if code in ("utf-16", "utf-32") else ""
        return name, [parts[3].data.decode(code + ending).rstrip("\0")]
    if kind in (CELL, OBJECT) or len(parts) < 4:
        return name, []
    return name, _values(parts[3], order)


def _values(element: _Element, order: str) -> list[Any]:
    code = NUMBERS[element.kind]
    return list(struct.unpack(f"{order}{len(element.data) // struct.calcsize(order + code)}{code}", element.data))


def _structures(parts: list[_Element], order: str) -> list[dict[str, list[Any]]]:
    """The structures of an array: the names of their fields, each of one length, then the fields of one after the
    other."""
    (length,) = struct.unpack(f"{order}i", parts[3].data[:4])
    text = parts[4].data
    if length < 1:
        raise ValueError("names without a length")
    names = [text[i : i + length].split(b"\0")[0].decode("latin-1") for i in range(0, len(text), length)]
    fields = [_matrix(part.data, order)[1] if part.kind == MATRIX else [] for part in parts[5:]]
    return [dict(zip(names, fields[i : i + len(names)])) for i in range(0, len(fields), max(len(names), 1))]
