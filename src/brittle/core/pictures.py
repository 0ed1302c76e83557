"""Pictures of an attacked number, as plain data: a few of its test images before and after, drawn small."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

DRAWN = {
    "clean": "the image",
    "attacked": "the image, attacked",
    "change": "the perturbation, amplified",
    "truth": "the truth",
    "before": "the prediction",
    "after": "the prediction, attacked",
    "tokens": "patch tokens",
    "tokens_attacked": "patch tokens, attacked",
}
"""What there may be drawings of, by name."""
ROLES = {
    "worst": "most damaged",
    "typical": "typical",
    "least": "least damaged",
}
"""Why an image was chosen; the damage of a typical one is nearest to the median."""

METRES = ("440154", "482878", "3e4a89", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725")
"""Near to far, dark to bright, evenly (viridis: van der Walt and Smith 2015)."""


@dataclass(frozen=True)
class Exhibit:
    """What became of one picture that was attacked without a label.

    Args:
        heads: what was done and what came of it, in lines; the first is the title.
        rows: a title, and drawings under captions: WebP files in base64.
    """

    heads: Sequence[str]
    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]


@dataclass(frozen=True)
class Picture:
    """One test image before and after.

    Args:
        role: why it was chosen, one of ``ROLES``.
        image: its id.
        drawings: WebP files in base64, by their names in ``DRAWN``; none of a name that does not apply.
        edge: the longest of its drawings, in pixels.
        factor: by how much the perturbation is amplified.
        damage: how bad the prediction is, clean and attacked, as ``Task.damage`` has it.
        kind: what predictions are: ``label``, ``mask``, ``metres``, or empty where that is not known.
        labels: of a ``label``: the true class, and those predicted before and after.
        shares: the probabilities of the latter two.
        legend: of a ``mask``: classes and their colours, such as ``#0072b2``, those with most pixels first.
        ends: of ``metres``: the least and the most that is drawn.
    """

    role: str
    image: str
    drawings: Mapping[str, str]
    edge: int
    factor: int
    damage: tuple[float, float]
    kind: str = ""
    labels: Sequence[str] = ()
    shares: Sequence[float] = ()
    legend: Sequence[tuple[str, str]] = ()
    ends: Sequence[float] = ()

    @property
    def size(self) -> int:
        """Bytes of its drawings, in base64."""
        return sum(map(len, self.drawings.values()))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Picture":
        """What ``to_dict`` gave. Raises KeyError, TypeError or ValueError where the data is something else."""
        drawings = {str(name): str(text) for name, text in data["drawings"].items() if name in DRAWN}
        for text in (drawings["clean"], *drawings.values()):
            base64.b64decode(text, validate=True)
        if data["role"] not in ROLES:
            raise ValueError(f"no role {data['role']}")
        before, after = map(float, data["damage"])
        return cls(
            data["role"],
            str(data["image"]),
            drawings,
            int(data["edge"]),
            int(data["factor"]),
            (before, after),
            str(data["kind"]),
            tuple(map(str, data["labels"])),
            tuple(map(float, data["shares"])),
            tuple((str(name), str(colour)) for name, colour in data["legend"]),
            tuple(map(float, data["ends"])),
        )
