"""The budget of an attack: eps as a user writes it, and as a table shows it."""

import math

from brittle.core import spec
from brittle.core.errors import UsageError

DEFAULT = 8 / 255
USUAL = {  # what to give where there is no default
    "l2": "0.5 for images of 32x32, 3 of 224x224",
    "l1": "12 for images of 32x32, 255 of 224x224",
}
LEVEL = 1e-3  # of an 8-bit level: what is nearer to a whole one means that, such as 0.031373


def eps_text(eps: float | None, norm: str | None = "linf") -> str:
    """8/255 where eps is a whole number of 8-bit levels of ``linf``, else the number, so that two have one text only
    where they are equal: six digits, or 2.5/255, or all digits."""
    if eps is None:
        return ""
    level = eps * 255
    texts = [f"{eps:g}"]
    if norm == "linf" and eps and level < 256:
        texts = [f"{round(level)}/255", *texts, f"{level:g}/255"]
    return next((text for text in texts if float(spec.number(text)) == eps), repr(eps))


def default_eps(norm: str = "linf") -> float:
    """The budget where a user names none: 8/255.

    Raises:
        UsageError: ``l2`` and ``l1``, in which that would be no attack to speak of.
    """
    if norm in USUAL:
        raise UsageError(f"{norm} has no budget of its own; give eps, such as {USUAL[norm]}")
    return DEFAULT


def check_eps(value: float | str, norm: str = "linf") -> float:
    """eps as a finite number >= 0, from a number or text such as 8/255; for ``linf`` at most 1, the whole range of a
    pixel, and what is within a thousandth of a whole number of 8-bit levels is exactly that. The largest that
    means anything is how many values an image has in ``l1``, and the square root of that in ``l2``, which is not known
    here.

    Raises:
        UsageError: anything else.
    """
    try:
        if "bool" in str(getattr(value, "dtype", type(value))):
            raise TypeError  # True is not 1
        eps = float(spec.number(value)) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last: a tensor of several values
        raise UsageError(f"eps is {value!r:.40}; give one number in pixel units, such as 8/255") from None
    if not math.isfinite(eps) or eps < 0:
        raise UsageError(f"eps is {value}; it must be a finite number >= 0 in pixel units, such as 8/255")
    if norm == "linf" and eps > 1:
        meant = f"did you mean {eps:g}/255?" if eps.is_integer() and eps <= 255 else "such as 8/255"
        raise UsageError(f"eps is {value}; for linf it is in pixel units, 0 to 1; {meant}")
    level = round(eps * 255)
    return level / 255 if norm == "linf" and level and abs(eps * 255 - level) < LEVEL else eps
