"""``brittle verify`` and ``brittle doctor``: whether this installation does what it should."""

import json
from pathlib import Path
from typing import Annotated

import typer

from brittle.core import progress
from brittle.core.errors import BrittleError, UsageError
from brittle.core.text import show
from brittle.planning.identity import weights_of
from brittle.results import store

EMBEDDED = ("embedded:dino", "embedded:deacl")


def verify(
    full: Annotated[bool, typer.Option("--full", help="Also those that take minutes.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Run the engine against recorded values. They are of independent implementations; exit 1 if one is not met.

    \b
    Examples:
      brittle verify
      brittle verify --full
    """
    progress.quiet = quiet
    from brittle import verify as oracles

    lines: list[oracles.Line] = []
    for line in oracles.verify(full):
        lines.append(line)
        show(line)
    off = [line.name for line in lines if not line.ok]
    if off:
        raise BrittleError(f"{len(off)} of {len(lines)} recorded values are not met: {'; '.join(off)}")


def doctor() -> None:
    """Say what is installed and where things are kept. Exit 1 if something that is needed is wrong.

    \b
    Examples:
      brittle doctor
    """
    from brittle.core import installed
    from brittle.evaluation import machine, upkeep

    environment = machine.environment()
    show(json.dumps(environment, indent=1))
    for line in installed.untested():
        progress.say(f"warning: {line}")
    if bad := installed.bad():
        raise BrittleError("; ".join(bad))
    cache = Path(environment["cache"])
    try:
        store.Store(cache).note(".doctor", "")
        (cache / ".doctor").unlink(missing_ok=True)  # another may do the same
    except BrittleError as error:
        raise UsageError(f"the cache cannot be written: {error}; set BRITTLE_CACHE") from None
    found = upkeep.holdings()
    progress.say(f"cache: {'; '.join(upkeep.said(found))}")
    for name in found.passed.get(upkeep.BLOCKED, ()):
        raise UsageError(f"{cache / name} is {upkeep.BLOCKED}; remove it")
    for encoder in EMBEDDED:
        weights_of(encoder)
    progress.say("all well")
