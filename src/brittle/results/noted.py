"""What the workers of a run are to do, as its folder says it."""

import re
from pathlib import Path
from typing import Any

from brittle.core import files
from brittle.core.errors import MissingError
from brittle.core.records import EVIDENCE
from brittle.results.journal import FOLDER

WORK = "work.json"
ID = re.compile(r"[0-9a-f]{20}")


def place(root: Path, of: str = "") -> Path:
    """Where it is noted in a run folder: of one run while it lasts, as another may begin in the same folder, or of the
    last one that was started."""
    return root / FOLDER / f"{of}.work.json" if of else root / WORK


def noted(root: Path, of: str = "") -> dict[str, Any]:
    """What was noted in a run folder: its cells, the names of the whole plan, and how to measure them.

    Args:
        of: which run's; the last one's where empty.

    Raises:
        MissingError: nothing was, or it is damaged.
    """
    try:
        data = files.read_record(place(root, identity(of) if of else ""))
        data["plan"] = [identity(name) for name in data["plan"]]
        data["cells"] = {identity(name): cell for name, cell in data["cells"].items()}
        _ = EVIDENCE.index(data["checks"]), data["machine"]["keep"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"no work in {root}: {type(error).__name__} {' '.join(str(error).split())[:100]}"
        raise MissingError(f"{what}; start it with brittle run --executor manual") from None
    return data


def identity(name: object) -> str:
    """A name that somebody else may have written, where it is one of a cell; any other could lead out of the folder.

    Raises:
        ValueError: it is another.
    """
    if isinstance(name, str) and ID.fullmatch(name):
        return name
    raise ValueError(f"{str(name)[:40]!r} is no identity of a cell")
