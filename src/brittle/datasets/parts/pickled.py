"""The plain data and byte arrays inside a pickle, read without running it: opcodes are interpreted here, nothing is
imported or called."""

import pickletools
import struct
from pathlib import Path
from typing import Any

import numpy as np

from brittle.core.errors import UsageError

_PLAIN = frozenset(
    {"NONE", "NEWTRUE", "NEWFALSE", "INT", "LONG", "BINFLOAT", "BININT", "BININT1", "BININT2", "LONG1", "LONG4"}
)
_TEXT = frozenset({"SHORT_BINSTRING", "BINSTRING", "STRING"})  # bytes, of Python 2
_BYTES = frozenset(
    {"SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
)
_ARRAY = frozenset(
    {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}
)
_MARK = object()


class _Name:
    """A global that rebuilds an array; never looked up."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Call:
    """A call of a global that was not run: an array or a dtype before its state is set."""

    def __init__(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.name, self.arguments = name, arguments
        self.state: Any = None


def read(path: Path, data: bytes) -> Any:
    """What a pickle of dicts, lists, numbers, text and arrays of unsigned bytes holds; Python 2 text is returned as
    bytes.

    Raises:
        UsageError: anything else is in it, or it is damaged. Nothing in it has been run.
    """
    try:
        return _value(_Machine().run(data))
    except _ForeignError as error:
        raise UsageError(
            f"{path}: holds {error}, which is not plain data; it was not run, fetch the data set again from its source"
        ) from None
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        MemoryError,
        OverflowError,
        RecursionError,
        struct.error,
    ) as error:
        raise UsageError(
            f"{path}: is not a pickle of plain data or is cut short ({type(error).__name__}); fetch it again"
        ) from None


class _ForeignError(Exception):
    """An opcode or a name that plain data does not need."""


class _Machine:
    """The few opcodes that plain data needs, on a stack."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            if name in _PLAIN:
                self.stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}.get(name, argument))
            elif name in _TEXT:
                self.stack.append(str(argument).encode("latin-1"))
            elif name in _BYTES:
                self.stack.append(argument)
            elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
                self.memo[len(self.memo) if argument is None else int(argument)] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET", "GET"):
                self.stack.append(self.memo[int(argument or 0)])
            elif name not in ("PROTO", "FRAME"):
                getattr(self, f"_{name.lower()}", self._foreign(name))(argument)
        raise ValueError("no STOP")

    def _foreign(self, name: str) -> Any:
        def refuse(_argument: object) -> None:
            raise _ForeignError(f"opcode {name}")

        return refuse

    def _marked(self) -> list[Any]:
        place = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def _mark(self, _argument: object) -> None:
        self.stack.append(_MARK)

    def _empty_dict(self, _argument: object) -> None:
        self.stack.append({})

    def _empty_list(self, _argument: object) -> None:
        self.stack.append([])

    def _empty_tuple(self, _argument: object) -> None:
        self.stack.append(())

    def _tuple(self, _argument: object) -> None:
        self.stack.append(tuple(self._marked()))

    def _take(self, count: int) -> None:
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def _tuple1(self, _argument: object) -> None:
        self._take(1)

    def _tuple2(self, _argument: object) -> None:
        self._take(2)

    def _tuple3(self, _argument: object) -> None:
        self._take(3)

    def _append(self, _argument: object) -> None:
        item = self.stack.pop()
        self.stack[-1].append(item)

    def _appends(self, _argument: object) -> None:
        items = self._marked()
        self.stack[-1].extend(items)

    def _setitem(self, _argument: object) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][_key(key)] = value

    def _setitems(self, _argument: object) -> None:
        items = self._marked()
        self.stack[-1].update(zip(map(_key, items[::2]), items[1::2]))

    def _global(self, argument: object) -> None:
        if argument not in _ARRAY:
            raise _ForeignError(f"the name {argument}")
        self.stack.append(_Name(str(argument)))

    def _stack_global(self, _argument: object) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise _ForeignError("a name that is no text")
        self._global(f"{module} {name}")

    def _reduce(self, _argument: object) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Name):
            raise _ForeignError("a call")
        self.stack.append(_Call(function.name, arguments))

    def _build(self, _argument: object) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Call):
            raise _ForeignError("an object")
        self.stack[-1].state = state


def _key(key: Any) -> str | bytes:
    """The same; ValueError unless it is text: the hash of tuples in tuples can take for ever."""
    if not isinstance(key, str | bytes):
        raise ValueError("a key that is no text")
    return key


def _value(item: Any) -> Any:
    """The same with a recorded call replaced by its array, in a dictionary those of its values; nothing lies deeper,
    and walking what is nested in itself can take for ever."""
    if isinstance(item, dict):
        return {key: _array(value) for key, value in item.items()}
    return _array(item)


def _array(item: Any) -> Any:
    if not isinstance(item, _Call):
        return item
    _, shape, dtype, column_major, data = item.state
    if (
        not isinstance(dtype, _Call)
        or dtype.arguments[0] not in ("u1", b"u1")
        or column_major
        or not isinstance(data, bytes)
    ):
        raise ValueError("an array of something other than bytes")
    return np.frombuffer(data, np.uint8).reshape(shape)
