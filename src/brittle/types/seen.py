"""What the targets of a data set show when each is looked at, and what of it makes a number say less than it seems
to."""

from collections.abc import Sequence

import torch
from torch import Tensor

from brittle.core.errors import UsageError
from brittle.core.records import Finding
from brittle.types.task import Task

MOST_UNSCORED = 0.01  # share of the depth that a task may leave out before it is warned of
NEAREST = 0.3  # metres: a data set whose depth ends before it was most likely read in a wrong unit


class Seen:
    """Counts over the targets of one kind, as a task scores them.

    Args:
        names: of the classes; empty where values are no classes.
    """

    def __init__(self, task: Task, names: Sequence[str]) -> None:
        self.names, self._task = names, task
        self.present = torch.zeros(len(names), dtype=torch.bool)
        self.void = self.given = self.unscored = 0
        self.low, self.high = float("inf"), 0.0

    def add(self, target: Tensor) -> None:
        """Count the target of one image, void marked and no class out of range."""
        kind = self._task.target
        assert kind is not None
        if self.names:
            scored = target if kind.void is None else target[target != kind.void]
            self.present[scored.unique()] = True
            self.void += target.numel() - scored.numel()
        elif "metres" in self._task.abilities:
            given = target[target.isfinite() & (target > 0)]
            self.given += given.numel()
            self.unscored += int((~self._task.valid(given)).sum())
            if given.numel():
                self.low, self.high = min(self.low, float(given.min())), max(self.high, float(given.max()))

    def join(self, other: "Seen") -> None:
        """Count what another split shows of the classes."""
        self.present |= other.present
        self.void += other.void

    def require_some(self, where: str) -> None:
        """Raise UsageError where there is depth, but the task scores none of it."""
        if self.given and self.unscored == self.given:
            reach = f"{self.low:.3g} to {self.high:.3g} m"
            raise UsageError(
                f"{where}: {self._task.name} scores none of its depth, {reach}; say {self._remedy}, or fix its unit"
            )

    @property
    def _remedy(self) -> str:
        return f"{self._task.name}(max_depth={self.high:.3g})"

    def of_depth(self) -> list[Finding]:
        """What is odd in the range of depth."""
        found: list[Finding] = []
        share = self.unscored / max(self.given, 1)
        if share > MOST_UNSCORED:
            why = f"{share:.1%} of the depth ({self.low:.3g} to {self.high:.3g} m) is not scored; say {self._remedy}"
            found.append(Finding("target", "warn", share, why))
        if 0 < self.high < NEAREST:
            why = f"no depth is beyond {self.high:.3g} m; if that is the unit, say depth_scale="
            found.append(Finding("target", "warn", self.high, why))
        return found

    def of_classes(self) -> list[Finding]:
        """What is odd in the classes of all splits together, where a user says what they are."""
        return [
            Finding("target", "fail" if self.void else "warn", float((~self.present).sum()), why)
            for why in nameless(self.names, self.present, self.void)
        ]


def nameless(names: Sequence[str], present: Tensor, void: int) -> list[str]:
    """A line where classes have a name but no pixel or image in any split; where there is void as well, it may be
    theirs.

    Args:
        present: bool [C].
        void: how many pixels are void.
    """
    absent = [name for name, here in zip(names, present.tolist()) if not here]
    if not absent and not (void and len(names) == 1):
        return []
    what = ", ".join(map(repr, absent[:5])) + (" ..." if len(absent) > 5 else "")
    begin = f"{what} of {len(names)} classes occur in no split" if absent else "there is only one class"
    doubt = "255 in the masks is void, no class: if it is meant as one, write its number" if void else "check the names"
    return [f"{begin}; {doubt}"]
