"""Nothing is started: the run folder is made ready, and workers are started by hand or by a queue of yours."""

import shlex

from brittle.core.progress import say
from brittle.core.traits import LaunchTraits
from brittle.launch.parts.cell import Work

TRAITS = LaunchTraits(waits=False)


def manual(work: Work, /) -> None:
    """Say how to start workers, any number of them, on any machine that sees the run folder."""
    root = shlex.quote(str(work.store.root.absolute()))
    say(f"{len(work.cells)} cells are ready: start any number of workers with: brittle work {root}", always=True)
    say(f"how far they are says: brittle status {root}", always=True)
