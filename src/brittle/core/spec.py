"""Names that stand for components: ``name``, ``name:argument``, ``name(key=value)``, ``name:argument(key=value)``;
parsed, never evaluated.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Union

from brittle.core.errors import UsageError

Value = Union[bool, int, float, str, list["Value"], "Spec"]  # noqa: UP007 - it names itself
DEEPEST = 16  # brackets within brackets

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BARE = re.compile(r"[^\s,()\[\]='\"]+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True)
class Spec:
    """A parsed spec; ``str`` gives its canonical text."""

    name: str
    argument: str = ""
    settings: Mapping[str, Value] = field(default_factory=dict[str, Value])

    def __str__(self) -> str:
        argument = f":{self.argument}" if self.argument else ""
        settings = ", ".join(f"{key}={text_of(value)}" for key, value in self.settings.items())
        return f"{self.name}{argument}({settings})" if settings else f"{self.name}{argument}"

    def __hash__(self) -> int:
        return hash(str(self))


def number(text: str) -> int | float:
    """A finite number written as ``8``, ``0.5``, ``1e-3`` or ``8/255``.

    Raises:
        UsageError: anything else, ``nan``, ``inf``, a zero denominator, or a value float cannot hold.
    """
    parts = [part.strip() for part in text.strip().split("/")]
    if len(parts) > 2 or not all(_NUMBER.fullmatch(part) for part in parts):
        raise UsageError(f"{text!r} is no number; write it as 8/255, 0.03 or 3e-2")
    values = [int(part) if re.fullmatch(r"[+-]?\d{1,18}", part) else float(part) for part in parts]
    if len(values) == 2 and values[1] == 0:
        raise UsageError(f"{text!r} divides by zero; write it as 8/255, 0.03 or 3e-2")
    result = values[0] / values[1] if len(values) == 2 else values[0]
    if not math.isfinite(result):
        raise UsageError(f"{text!r} is not finite; write it as 8/255, 0.03 or 3e-2")
    return result


@lru_cache(maxsize=4096)
def parse(text: str) -> Spec:
    """The spec that ``text`` stands for.

    Raises:
        UsageError: with the text and the place where it stops making sense.
    """
    if "\0" in text:
        raise UsageError(f"{text[:40]!r} holds a NUL character; remove it")
    text = text.strip()
    start = _NAME.match(text)
    if not start:
        raise UsageError(f"{text!r} is no spec; write name, name:argument or name(key=value)")
    rest = text[start.end() :]
    argument = ""
    if rest.startswith(":"):
        cut = _settings_start(rest)
        argument, rest = rest[1:cut].strip(), rest[cut:]
        if not argument:
            raise UsageError(f"{text!r} has nothing after the colon; write name:argument")
    settings: dict[str, Value] = {}
    if rest:
        reader = _Reader(text, len(text) - len(rest))
        settings = reader.settings()
        reader.end()
    return Spec(start.group(), argument, settings)


def listed(text: str, known: Collection[str]) -> list[str]:
    """The specs of a list with commas, such as ``embed,pgd(steps=5)``. A comma within brackets or quotes belongs to its
    spec, and so does one within an argument, such as a path, unless what follows is a name that is ``known``."""
    pieces, depth, quote = [""], 0, ""
    for place, mark in enumerate(text):
        if quote or mark in "'\"":
            quote = "" if mark == quote else quote or mark
        else:
            depth += (mark in "([") - (mark in ")]")
        following = _NAME.match(text[place + 1 :].lstrip())
        ends = mark == "," and not (quote or depth)
        if ends and (":" not in pieces[-1].partition("(")[0] or (following and following.group() in known)):
            pieces.append("")
        else:
            pieces[-1] += mark
    return [piece.strip() for piece in pieces]


def _settings_start(rest: str) -> int:
    """Where the trailing ``(key=...)`` begins, if there is one; brackets inside an argument (a path, say) are left
    alone."""
    if rest.endswith(")"):
        for place in [m.start() for m in re.finditer(r"\(", rest)]:
            if re.match(r"\(\s*([A-Za-z_]\w*\s*=|\)$)", rest[place:]):
                return place
    return len(rest)


class _Reader:
    """Reads values from ``text`` at ``at``."""

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at, self.depth = text, at, 0

    def fail(self, wanted: str) -> UsageError:
        return UsageError(f"{self.text!r} breaks off at {self.text[self.at :]!r}; expected {wanted}")

    def skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def take(self, mark: str) -> bool:
        self.skip()
        present = self.text.startswith(mark, self.at)
        self.at += len(mark) * present
        return present

    def match(self, pattern: re.Pattern[str], wanted: str) -> str:
        self.skip()
        matched = pattern.match(self.text, self.at)
        if not matched:
            raise self.fail(wanted)
        self.at = matched.end()
        return matched.group()

    def end(self) -> None:
        self.skip()
        if self.at != len(self.text):
            raise self.fail("the end")

    def settings(self) -> dict[str, Value]:
        if not self.take("("):
            raise self.fail("'(key=value, ...)'")
        settings: dict[str, Value] = {}
        while not self.take(")"):
            key = self.match(_NAME, "a keyword or ')'")
            if key in settings:
                raise UsageError(f"{self.text!r} gives {key!r} twice; give it once")
            if not self.take("="):
                raise self.fail("'='")
            settings[key] = self.value()
            if not self.take(",") and not self.text.startswith(")", self.at):
                raise self.fail("',' or ')'")
        return settings

    def value(self) -> Value:
        self.depth += 1
        if self.depth > DEEPEST:
            raise UsageError(f"{self.text[:40]!r}... is nested more than {DEEPEST} deep; write it flatter")
        try:
            return self.one()
        finally:
            self.depth -= 1

    def one(self) -> Value:
        self.skip()
        for quote in "'\"":
            if self.text.startswith(quote, self.at):
                end = self.text.find(quote, self.at + 1)
                if end < 0:
                    raise self.fail(f"a closing {quote}")
                text, self.at = self.text[self.at + 1 : end], end + 1
                return text
        if self.take("["):
            items: list[Value] = []
            while not self.take("]"):
                items.append(self.value())
                if not self.take(",") and not self.text.startswith("]", self.at):
                    raise self.fail("',' or ']'")
            return items
        word = self.match(_BARE, "a value")
        self.skip()
        if self.text.startswith("(", self.at):
            inner, settings = parse(word), self.settings()
            return Spec(inner.name, inner.argument, settings) if settings else str(inner)  # pgd() is pgd
        if word.lower() in _WORDS:
            return _WORDS[word.lower()]
        if re.match(r"[+-]?\.?\d", word) and re.fullmatch(r"[-+.\d/eE]+", word):
            return number(word)
        return word


def text_of(value: object) -> str:
    """A setting's value as a spec writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(text_of(item) for item in value)}]"
    if isinstance(value, str):
        plain = _BARE.fullmatch(value) and value.lower() not in _WORDS and not re.match(r"[+-]?\.?\d", value)
        return value if plain else ('"' if "'" in value else "'").join(["", value, ""])
    return repr(value) if isinstance(value, float) else str(value)
