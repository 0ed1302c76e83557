"""How the attack of one budget continues from the images of the smaller ones, so that no curve over eps rises."""

from collections.abc import Sequence
from dataclasses import replace

from brittle.core import components
from brittle.core.budget import eps_text
from brittle.core.records import Cell
from brittle.core.spec import Spec, parse
from brittle.core.tree import tree

WARM, INNER = "warm", "pgd"  # the attack that continues from smaller budgets, and what it runs where it does not say


def warmed(attack: str, smaller: Sequence[float]) -> str:
    """An attack that continues from what it made with smaller budgets; itself where there are none, or where damage
    cannot say which start is the better one: it looks at no head, aims at classes, or learns on other images."""
    if not smaller or _begins_afresh(attack):
        return attack
    return components.canonical("attacks", str(Spec(WARM, "", {"attack": attack, "eps": list(smaller)})))


def _begins_afresh(attack: str) -> bool:
    part = tree("attacks", attack)
    if part.headless or part.aimed or part.attack_traits.learns:
        return True
    inner = part.spec.settings.get("attack")  # of one that is wrapped already
    return inner is not None and _begins_afresh(str(inner))


def unwrapped(attack: str) -> str:
    """An attack without its warm start; only read, so that a report imports no attack."""
    parsed = parse(attack)
    return str(parsed.settings.get("attack", INNER)) if parsed.name == WARM else attack


def budgets_before(cell: Cell) -> list[float]:
    """The smaller budgets that an attacked number continues from; none where it begins afresh."""
    parsed = parse(cell.attack) if cell.attack else None
    sizes = parsed.settings.get("eps", []) if parsed and parsed.name == WARM else []
    return [float(str(size)) for size in (sizes if isinstance(sizes, list) else [sizes])]


def smaller_cell(cell: Cell) -> Cell | None:
    """The cell of the next smaller budget, whose images this one continues from; None where it begins afresh."""
    sizes = budgets_before(cell)
    if not sizes or not cell.attack:
        return None
    *rest, last = sizes
    return replace(cell, attack=warmed(components.canonical("attacks", unwrapped(cell.attack)), rest), eps=last)


def titled(cell: Cell) -> str:
    """A cell as people read it: what it was asked for, and whether it continues from smaller budgets."""
    bare = str(replace(cell, attack=unwrapped(cell.attack)) if cell.attack else cell)
    return f"{bare} (warm)" if smaller(cell) else bare


def smaller(cell: Cell) -> str:
    """The smaller budgets of a cell as a table shows them, such as ``2/255, 4/255``."""
    return ", ".join(eps_text(eps, cell.norm) for eps in budgets_before(cell))
