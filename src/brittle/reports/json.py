"""All results as they are stored, in one JSON list."""

import json as writer
from collections.abc import Sequence

from brittle.core.records import Result


def json(results: Sequence[Result], /) -> str:
    """Strict JSON: no nan, no inf."""
    return writer.dumps([result.to_dict() for result in results], indent=1, allow_nan=False) + "\n"
