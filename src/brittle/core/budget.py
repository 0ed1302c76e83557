"""The budget of an attack: eps as a user writes it, and as a table shows it."""

import math

from brittle.core import spec
from brittle.core.errors import UsageError

DEFAULT = 8 / 255


def eps_text(eps: float | None, norm: str | None = "linf") -> str:
    """8/255 where eps is a whole number of 8-bit levels of ``linf``, else the number."""
    if eps is None:
        return ""
    level = eps * 255
    whole = norm == "linf" and eps and abs(level - round(level)) < 1e-6 and level < 256
    return f"{round(level)}/255" if whole else f"{eps:g}"


def default_eps(norm: str = "linf") -> float:
    """The budget where a user names none: 8/255.

    Raises:
        UsageError: ``l2``, in which that would be no attack to speak of.
    """
    if norm == "l2":
        raise UsageError("l2 has no budget of its own; give eps, such as 0.5 for images of 32x32, 3 of 224x224")
    return DEFAULT


def check_eps(value: float | str, norm: str = "linf") -> float:
    """eps as a finite number >= 0, from a number or text such as 8/255; for ``linf`` at most 1, the whole range of a
    pixel. In ``l2`` the largest that means anything is the square root of how many values an image has, which is not
    known here.

    Raises:
        UsageError: anything else.
    """
    try:
        eps = float(spec.number(value)) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last: a tensor of several values
        raise UsageError(f"eps is {value!r:.40}; give one number in pixel units, such as 8/255") from None
    if not math.isfinite(eps) or eps < 0:
        raise UsageError(f"eps is {value}; it must be a finite number >= 0 in pixel units, such as 8/255")
    if norm == "linf" and eps > 1:
        meant = f"did you mean {eps:g}/255?" if eps.is_integer() and eps <= 255 else "such as 8/255"
        raise UsageError(f"eps is {value}; for linf it is in pixel units, 0 to 1; {meant}")
    return eps
