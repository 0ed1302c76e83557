"""Text that was not written by us - names of files, folders, classes - made safe to print, and output that no name can
break."""

import codecs
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping
from typing import TextIO

_ACTS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)  # moves the cursor, colours, erases, turns the direction, cannot be seen or cannot be encoded
_INTERVAL = re.compile(r"\[[\w.-]+, [\w.-]+\]( [!?](?!\S))?")  # with its mark
COLOURS = {"red": 31, "green": 32, "yellow": 33}
_ASCII = {"–": "-", "…": "...", "─": "-", "━": "-", "│": "|", "±": "+-", "×": "x"}  # noqa: RUF001


def plain(text: str) -> str:
    """``text`` with each character written out (``\\x1b``) that a terminal would act on or that cannot be seen; line
    breaks and tabs stay."""
    return _ACTS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shortened(text: str, most: int) -> str:
    """A name as a figure or a page can show it: letters that print, the middle left out beyond ``most`` characters."""
    text = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in plain(text))
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-most // 2 :]}"


def brief(error: object, most: int = 160) -> str:
    """What an error says, on one line, cut between words."""
    return textwrap.shorten(str(error), most, placeholder=" ...") or type(error).__name__


def show(text: object, tints: Mapping[str, str] | None = None) -> None:
    """Print it on stdout, whatever is in it and whatever encoding stdout has; the lines of a CSV end as all others.

    Args:
        tints: patterns to the colour of what they find, on a terminal that shows colours.
    """
    print(tinted(plain(str(text).replace("\r\n", "\n")), tints or {}, sys.stdout), flush=True)


def folded(text: str, stream: TextIO) -> str:
    """``text`` in lines that a terminal breaks between words; as it is where ``stream`` is none."""
    if not stream.isatty():
        return text
    return filled(text, shutil.get_terminal_size().columns)


def filled(text: str, width: int, indent: int = 2) -> str:
    """``text`` in lines of ``width`` characters, all but the first indented; neither a word nor an interval is cut."""
    whole = _INTERVAL.sub(lambda found: found[0].replace(" ", "\xa0"), text)
    lines = textwrap.fill(whole, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
    return lines.replace("\xa0", " ")


def tinted(text: str, tints: Mapping[str, str], stream: TextIO) -> str:
    """``text`` with what each pattern finds in a colour, where ``stream`` is a terminal and nobody said NO_COLOR."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    for pattern, colour in tints.items():
        text = re.sub(pattern, lambda found: f"\x1b[{COLOURS[colour]}m{found[0]}\x1b[0m", text, flags=re.MULTILINE)
    return text


def printable_output() -> None:
    """Have stdout and stderr write out what their encoding lacks, rather than end a finished run with an error."""
    codecs.register_error("brittle", _nearest)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="brittle")  # type: ignore[union-attr]


def _nearest(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    near = (_ASCII.get(each, each.encode("ascii", "backslashreplace").decode()) for each in lacking)
    return "".join(near), error.end
