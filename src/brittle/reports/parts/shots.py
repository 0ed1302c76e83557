"""The pictures of a page: which of them it has room for, and what is said of each in words."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from brittle.core.pictures import DRAWN, ROLES, Picture
from brittle.core.records import Result
from brittle.reports.parts import answer, layout
from brittle.reports.parts.numbers import Numbers

Pictures = Callable[[str], Sequence[Picture]]
"""The pictures of a result, by its id."""
MOST, LESS = 1_500_000, 250  # characters of pictures on a page, and fewer for each number, which takes room itself
FINE = 160  # edge in pixels from which a picture is not shown larger than it is
PAIRED = (
    ("image", "clean", "attacked"),
    ("prediction", "before", "after"),
    ("patch tokens", "tokens", "tokens_attacked"),
)
"""What is shown before and after, and the names of its two drawings."""


class Tile(NamedTuple):
    """A drawing, with what it is, or a pair of them, one over the other."""

    title: str
    before: str
    about: str
    after: str = ""
    about_after: str = ""


class Shot(NamedTuple):
    """A picture as a page shows it: why it was chosen, its image's id, what became of the prediction, the truth in
    words, its tiles, the colours of classes, the ends of a scale in metres, and whether its pixels are few."""

    role: str
    image: str
    said: str
    truth: str
    tiles: Sequence[Tile]
    legend: Sequence[tuple[str, str]]
    ends: Sequence[str]
    coarse: bool


class Card(NamedTuple):
    """The pictures of a number: its place among the ``Numbers``, its names, what it is in a sentence, and whether it is
    the strongest of its row."""

    place: int
    task: str
    encoder: str
    said: str
    first: bool
    shots: Sequence[Shot]


class Cards(NamedTuple):
    """The pictures of a page, and of how many attacked numbers they are, out of how many."""

    cards: Sequence[Card]
    shown: int
    total: int


def cards(rows: Sequence[layout.Row], main: answer.Budget | None, pictures: Pictures, numbers: Numbers) -> Cards:
    """As many pictures as there is room for: of the strongest attack of each row within its largest budget first, the
    most damaged image of each first; then of the others."""
    total = sum(r.cell.attack is not None and r.failed is None for row in rows for r in row.results.values())
    chosen: dict[str, list[Picture]] = {}
    room = MOST - LESS * sum(len(row.results) for row in rows)
    ranked = [answer.ranked(row, main) for row in rows]
    for each, picture in _in_order(ranked, pictures):
        room -= picture.size
        if room < 0:
            break
        chosen.setdefault(each.id, []).append(picture)
    name = answer.task_name(rows)
    made = [
        Card(
            numbers.add(each),
            name(row),
            row.encoder,
            answer.sentence(answer.Score(row, _clean(row), each), main),
            rank == 0,
            [shot(picture) for picture in chosen[each.id]],
        )
        for row, order in zip(rows, ranked)
        for rank, each in enumerate(order)
        if each.id in chosen
    ]
    return Cards(sorted(made, key=lambda card: not card.first), len(made), total)


def _clean(row: layout.Row) -> Result | None:
    clean = row.results.get("clean")
    return clean if clean and clean.failed is None else None


def _in_order(ranked: Sequence[Sequence[Result]], pictures: Pictures) -> Iterator[tuple[Result, Picture]]:
    """Pictures in the order in which a page wants them, none read before it is wanted."""
    for rank in range(max(map(len, ranked), default=0)):
        results = [order[rank] for order in ranked if rank < len(order)]
        for role in ROLES:
            for result in results:
                yield from ((result, picture) for picture in pictures(result.id) if picture.role == role)


def shot(picture: Picture) -> Shot:
    """A picture with what is said of it."""
    drawn = picture.drawings
    tiles = [
        Tile(title, drawn[before], DRAWN[before], drawn[after], DRAWN[after])
        for title, before, after in PAIRED
        if before in drawn and after in drawn
    ]
    if "truth" in drawn:
        tiles.insert(2, Tile("truth", drawn["truth"], DRAWN["truth"]))
    if "change" in drawn:
        tiles.append(Tile(f"perturbation ×{picture.factor}", drawn["change"], DRAWN["change"]))
    return Shot(
        ROLES[picture.role],
        picture.image,
        said(picture),
        f"truth: {picture.labels[0]}" if picture.kind == "label" else "",
        tiles,
        picture.legend,
        [f"{end:.1f} m" for end in picture.ends],
        picture.edge < FINE,
    )


def said(picture: Picture) -> str:
    """What became of a prediction, such as ``sphere 98 % → cube 71 %``; how bad it is where there are no words for
    it."""
    before, after = picture.damage
    match picture.kind:
        case "label":
            (_, *names), shares = picture.labels, picture.shares
            return " → ".join(f"{name} {_percent(share)}" for name, share in zip(names, shares))
        case "mask":
            return f"wrong pixels {_percent(before)} → {_percent(after)}"
        case "metres":
            return f"error {before:.2f} m → {after:.2f} m"
        case _:
            return f"damage {before:.3g} → {after:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
