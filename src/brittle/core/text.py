"""Text that was not written by us - names of files, folders, classes - made safe to print, and output that no name can
break."""

import codecs
import re
import sys
from textwrap import shorten

_ACTS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)  # moves the cursor, colours, erases, turns the direction, cannot be seen or cannot be encoded
_ASCII = {"–": "-", "…": "...", "─": "-", "━": "-", "│": "|", "±": "+-", "×": "x"}  # noqa: RUF001


def plain(text: str) -> str:
    """``text`` with each character written out (``\\x1b``) that a terminal would act on or that cannot be seen; line
    breaks and tabs stay."""
    return _ACTS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def brief(error: object, most: int = 160) -> str:
    """What an error says, on one line, cut between words."""
    return shorten(str(error), most, placeholder=" ...") or type(error).__name__


def show(text: object) -> None:
    """Print it on stdout, whatever is in it and whatever encoding stdout has; the lines of a CSV end as all others."""
    print(plain(str(text).replace("\r\n", "\n")), flush=True)


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
