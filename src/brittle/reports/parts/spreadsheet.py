"""Rows as CSV that no name in them can break, for a spreadsheet or a data frame."""

import csv
import io
from collections.abc import Sequence

from brittle.core.text import plain


def sheet(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """CSV of rows below ``head``; nothing where a value is None. Numbers have all their digits."""
    stream = io.StringIO()
    out = csv.writer(stream)  # lines end in \r\n (RFC 4180), so that text with either of them is quoted
    out.writerows([head, *([_harmless(value) for value in row] for row in rows)])
    return stream.getvalue()


def _harmless(value: object) -> object:
    """Text that a spreadsheet would run as a formula gets a quote in front, and what a terminal would act on is
    written out."""
    value = plain(value) if isinstance(value, str) else value
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
