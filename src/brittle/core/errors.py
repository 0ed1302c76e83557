"""The errors a user can fix: one line each, saying what was wrong, its value, and what exists or what to do."""

import difflib
from collections.abc import Iterable

LONGEST = 1000  # characters of a line that people are to read
MANY = 30  # names, more than which nobody reads


class BrittleError(Exception):
    """Base of all errors that are shown as one line; ``exit_code`` is what the command ends with."""

    exit_code = 1

    def __str__(self) -> str:
        text = super().__str__()
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 200]} ... {text[-190:]}"


class UsageError(BrittleError):
    """Wrong usage or plan."""

    exit_code = 2


class CellError(BrittleError):
    """This cell cannot be measured; the others continue.

    Args:
        why: the reason.
        check: the check that it belongs to, if any, which the text then begins with.
    """

    exit_code = 3

    def __init__(self, why: str, *, check: str = "") -> None:
        super().__init__(f"{check}: {why}" if check else why)
        self.why, self.check = why, check


class MissingError(BrittleError):
    """Data or weights are not where they were looked for."""

    exit_code = 4


class UnreachableError(MissingError):
    """What is missing would have to be downloaded, and cannot be."""


class Busy(Exception):
    """Another process is at it: no error, but a reason to do something else meanwhile."""


def unknown(what: str, name: str, known: Iterable[str]) -> UsageError:
    """``no attack 'pdg'; did you mean 'pgd'?`` or, with nothing near, the names that exist (of many, some)."""
    names = sorted(known)
    lower = {each.lower(): each for each in names}  # PGD means pgd
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    some = names if len(names) <= MANY else [*names[:5], f"and {len(names) - 5} more"]
    hint = f"did you mean {lower[near[0]]!r}?" if near else f"there is {', '.join(some) or 'none'}"
    return UsageError(f"no {what} {name!r}; {hint}")
