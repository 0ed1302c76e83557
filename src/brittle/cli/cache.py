"""The command line's ``cache``: what runs share, whether it is whole, and room made on request."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brittle.core import progress, shared
from brittle.core.errors import BrittleError, UsageError
from brittle.core.text import show
from brittle.reports.parts import terminal

if TYPE_CHECKING:
    from brittle.evaluation.upkeep import File, Holdings

SECONDS = {"d": 86400, "h": 3600, "min": 60}
cache_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look after what runs share: ls, verify, prune."
)


@cache_app.command(name="ls")
def cache_ls(as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False) -> None:
    """Say what is kept for other runs. How much of each kind, when it was used last, and whether it is made again.

    \b
    Examples:
      brittle cache ls
      brittle cache ls --json
    """
    from brittle.evaluation import upkeep

    found = upkeep.holdings()
    if as_json:
        show(json.dumps(_plain(found), indent=1, allow_nan=False))
        return
    if found.whole:
        rows = {kind: [file for file in found.whole if file.kind == kind] for kind in shared.KINDS}
        about = {kind: (each.what, "yes" if each.again else "no") for kind, each in shared.KINDS.items()}
        show(f"{_table(rows, about, ('what it is', 'made again'))}\n")
    for line in upkeep.said(found):
        show(terminal.folded(line))


@cache_app.command(name="verify")
def cache_verify(
    remove: Annotated[bool, typer.Option("--remove", help="Remove what is damaged; it is made again.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Read every file that is kept and check its seal. Exit 1 if one is damaged and not removed.

    \b
    Examples:
      brittle cache verify
      brittle cache verify --remove
    """
    progress.quiet = quiet
    from brittle.evaluation import upkeep

    found = upkeep.holdings()
    checked = upkeep.verify(found, remove)
    for file in checked.damaged:
        show(f"damaged{', removed' if file in checked.removed else ''}: {found.root / file.path}")
    for line in upkeep.told(checked.refused):
        progress.say(f"warning: {line}", always=True)
    for line in upkeep.said(found):
        show(terminal.folded(line))
    still = len(checked.damaged) - len(checked.removed)
    if still:
        remedy = "those that are left could not be removed" if remove else "brittle cache verify --remove removes them"
        raise BrittleError(f"{still} of {upkeep.counted(len(found.whole), 'file')} are damaged; {remedy}")
    if found.whole:
        unread = sum(map(len, checked.refused.values()))
        show(f"{upkeep.counted(len(found.whole) - len(checked.damaged) - unread, 'file')} read, all whole")


@cache_app.command(name="prune")
def cache_prune(
    max_gb: Annotated[
        str | None, typer.Option("--max-gb", metavar="N", help="Leave at most so many gigabytes.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="D", help="Remove what was not used for so long: 30d, 12h.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove what was used longest ago. It is made again when it is wanted; a run that reads it meanwhile keeps it.

    \b
    Examples:
      brittle cache prune --max-gb 20
      brittle cache prune --older-than 30d --dry-run
    """
    if max_gb is None and older_than is None:
        raise UsageError("brittle cache prune removes nothing by itself; give --max-gb 20, --older-than 30d or both")
    older = None if older_than is None else _seconds(older_than)
    from brittle.evaluation import cache, upkeep

    at_most = None if max_gb is None else cache.bytes_of(max_gb, "--max-gb")
    found = upkeep.holdings()
    if not found.whole and not found.unfinished:
        show(upkeep.said(found)[0])
        return
    pruned = upkeep.prune(found, at_most, older, dry_run)
    rows = {kind: [file for file in pruned.removed if file.kind == kind] for kind in shared.KINDS}
    rows["left over"] = pruned.leftovers
    if pruned.removed or pruned.leftovers:
        show(_table({kind: files for kind, files in rows.items() if files}))
    for line in upkeep.told(found.passed | pruned.refused):
        progress.say(f"warning: {line}", always=True)
    left = upkeep.gigabytes(pruned.left)
    show(f"{upkeep.sized([*pruned.removed, *pruned.leftovers])} {'would go' if dry_run else 'removed'}; {left} left")
    if at_most is not None and pruned.left > at_most:
        raise BrittleError(f"{left} are left, more than --max-gb {max_gb}: not all could be removed")


def _seconds(duration: str) -> float:
    found = re.fullmatch("([0-9]{1,6})([dh])", duration)
    if not found:
        raise UsageError(f"--older-than is {duration!r}; give days or hours, such as 30d or 12h")
    return int(found[1]) * SECONDS[found[2]]


def _table(
    rows: Mapping[str, Sequence["File"]],
    about: Mapping[str, Sequence[str]] | None = None,
    more: Sequence[str] = (),
) -> str:
    """A row for each kind, with what else is to be said ``about`` it."""
    from brittle.evaluation.disk import gigabytes

    numbers = ("files", "size", "last used")
    table = terminal.laid(("kind", *numbers, *more), numbers)
    for kind, some in rows.items():
        size, last = gigabytes(sum(file.size for file in some)), max((file.used for file in some), default=None)
        terminal.add(table, [kind, f"{len(some):,}", size, _ago(last), *(about or {}).get(kind, ())])
    return terminal.printed(table)


def _ago(moment: float | None) -> str:
    """Such as ``3d ago``."""
    if moment is None:
        return ""
    seconds = max(0.0, time.time() - moment)
    unit = next((unit for unit, size in SECONDS.items() if seconds >= size), "")
    return f"{seconds // SECONDS[unit]:.0f}{unit} ago" if unit else "now"


def _plain(found: "Holdings") -> dict[str, Any]:
    """What there is as plain data; sizes are bytes, times UTC."""
    from brittle.evaluation import cache, upkeep

    kinds: list[dict[str, Any]] = []
    for kind, each in shared.KINDS.items():
        some = [file for file in found.whole if file.kind == kind]
        used = max((file.used for file in some), default=None)
        when = None if used is None else datetime.fromtimestamp(used, UTC).isoformat(timespec="seconds")
        size = sum(file.size for file in some)
        kinds.append(
            {"kind": kind, "files": len(some), "bytes": size, "last_used": when, "what": each.what, "again": each.again}
        )
    unfinished = sum(file.size for file in found.unfinished)
    return {
        "cache": str(found.root),
        "kinds": kinds,
        "files": len(found.whole),
        "bytes": sum(file.size for file in found.whole),
        "features_at_most": cache.most(),
        "free": cache.free(),
        "unfinished": {
            "files": len(found.unfinished),
            "bytes": unfinished,
            "left_over": len(upkeep.left_over(found)),
        },
        "locks": {"files": found.locks, "held": found.held},
        "passed_over": {why: sorted(map(str, paths)) for why, paths in found.passed.items()},
    }
