"""Time of an ensemble on a model where most images fall to its first member: over the floor of the members on the
images that still stand when their turn comes, and over the same members each run on all images; beside a loop as most
people write it and, where it is installed, torchattacks' ensemble of as many PGDs.

    python benchmarks/ensemble.py --json ensemble.json
    python benchmarks/ensemble.py --attack "autoattack(steps=2, queries=20)" --images 8

The floor of a member is one forward and one backward to the pixels for each of its steps (and targets and restarts), or
a forward for each of its queries, with frozen weights and nothing else. The model is right about all images when they
are clean, so that each has to be attacked.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from torch import Tensor

from brittle.attacks.parts.run import attacked
from brittle.core.budget import check_eps
from brittle.core.records import Cell
from brittle.core.spec import Spec
from brittle.core.tree import tree
from brittle.evaluation import loading
from brittle.evaluation.machine import Machine
from brittle.evaluation.measure import model_of
from brittle.planning.identity import resolve
from brittle.types import Batch, Model, frozen, per_image
from brittle.types.rng import Rng
from brittle.types.threat import Threat
from floors import SHARE, Value, floor, looks, loss_of, naive, other
from rounds import ROUNDS, in_turn, rows_of, show, tell

ATTACK = "worst(attacks=[pgd(steps=10), apgd(steps=10), apgd(objective=dlr, steps=10), cospgd(steps=10)])"
STANDING, ALL = "floor", "members on all"
"""What ratios are over: the members' floors on the images that still stand, and our members each on all images."""


class Member(NamedTuple):
    """A member of an ensemble: its spec, and how many steps and queries an image takes at the least."""

    spec: str
    steps: int
    queries: int


class Scene(NamedTuple):
    """What is attacked, and by what."""

    model: Model
    batch: Batch
    threat: Threat
    members: Sequence[Member]


def members_of(attack: str, classes: int) -> list[Member]:
    """The members of an ensemble in their order, towards no more classes than there are wrong ones."""
    found: list[Member] = []
    for part in tree("attacks", attack).parts:
        if part.kind == "attacks":
            settings: dict[str, Any] = dict(part.spec.settings)
            if settings.get("targets"):
                settings["targets"] = min(settings["targets"], classes - 1)
            climbs = settings.get("restarts", 1) * (settings.get("targets") or 1)
            spec = Spec(part.spec.name, part.spec.argument, settings)
            found.append(Member(str(spec), settings.get("steps", 0) * climbs, settings.get("queries", 0)))
    return found


def scene(encoder: str, data: str, attack: str, eps: float, images: int) -> Scene:
    """A fitted model and the first test images that it is right about."""
    cell = Cell(encoder, data, "classification", "pgd", eps, "linf", 0, None, "standard(heads=quick)")
    resolved, machine = resolve(cell), Machine()
    model, rule = model_of(resolved, machine)
    test, kept = resolved.data("test"), list[Batch]()
    for batch in loading.batches(test, range(len(test)), resolved.task, rule, machine):
        kept.append(batch.rows(right(model, batch.images, batch.target).nonzero().flatten().tolist()))
    pictures, target = (torch.cat(parts) for parts in zip(*(batch[:2] for batch in kept)))
    whole = Batch(pictures, target, [name for batch in kept for name in batch.ids])
    members = members_of(attack, loading.classes_of(test, resolved.task.target))
    return Scene(model, whole.rows(range(min(images, len(whole.ids)))), Threat("linf", eps), members)


@torch.no_grad()
def right(model: Model, images: Tensor, target: Tensor) -> Tensor:
    return model(images).argmax(1) == target


def ours(set_up: Scene, attack: str, settles: bool) -> Tensor:
    model, batch, threat, _ = set_up
    return attacked(model, attack, batch, threat, Rng(0, batch.ids), precision="fp32", settles=settles)


def worst(model: Model, batch: Batch, found: Sequence[Tensor]) -> Tensor:
    """For each image what is wrong, of that what has the highest loss."""
    with torch.no_grad():
        loss = torch.stack([per_image(model.task.loss(model(images), batch.target)) for images in found])
    wrong = torch.stack([~right(model, images, batch.target) for images in found])
    best = torch.where(wrong, loss + loss.max() + 1, loss).argmax(0)
    return torch.stack(list(found))[best, torch.arange(len(best))]


def members_on_all(set_up: Scene) -> Tensor:
    """Ours, each to its end on all images, then the worst of them."""
    return worst(set_up.model, set_up.batch, [ours(set_up, member.spec, False) for member in set_up.members])


def loops(set_up: Scene) -> Tensor:
    """As most people write it: a loop for each member on all images, then the worst of them."""
    model, batch = set_up.model, set_up.batch
    value, found = loss_of(model, batch), list[Tensor]()
    for member in set_up.members:
        looks(value, batch.images, member.queries)
        found.append(naive(model, value, batch.images, member.steps, eps=set_up.threat.eps))
    return worst(model, batch, found)


def floors(set_up: Scene, standing: Sequence[Tensor]) -> Tensor:
    """The least that the members take, each on some of the images."""
    images = set_up.batch.images
    for member, rows in zip(set_up.members, standing):
        if len(rows):
            part = set_up.batch.rows(rows.tolist())
            value: Value = loss_of(set_up.model, part)
            looks(value, part.images, member.queries)
            floor(value, part.images, member.steps, eps=set_up.threat.eps)
    return images


def turns(set_up: Scene) -> list[Tensor]:
    """Of each member the places of the images that still stand when its turn comes."""
    stands, found = torch.ones(len(set_up.batch.ids), dtype=torch.bool), list[Tensor]()
    for member in set_up.members:
        found.append(stands.nonzero().flatten())
        stands &= right(set_up.model, ours(set_up, member.spec, False), set_up.batch.target)
    return found


def theirs(set_up: Scene) -> dict[str, Callable[[], Tensor]]:
    """torchattacks' ensemble, which gives each member what the ones before have left; foolbox has none."""
    if not (torchattacks := other("torchattacks")):
        return {}
    model, batch, threat, members = set_up
    climbs = [
        torchattacks.PGD(model, eps=threat.eps, alpha=threat.eps / SHARE, steps=max(each.steps, 1)) for each in members
    ]
    attack = torchattacks.MultiAttack(climbs)
    return {"torchattacks MultiAttack": lambda: attack(batch.images, batch.target)}


def main(
    encoder: Annotated[str, typer.Option(help="Encoder spec.")] = "embedded:dino",
    data: Annotated[str, typer.Option(help="Data set with labels.")] = "scenes(train=256, val=64, test=64)",
    attack: Annotated[str, typer.Option(help="An ensemble: worst, or autoattack.")] = ATTACK,
    eps: Annotated[str, typer.Option(help="Budget, linf.")] = "3/255",
    images: Annotated[int, typer.Option(help="Images in the batch.")] = 16,
    rounds: Annotated[int, typer.Option(help="How often each is timed.")] = ROUNDS,
    path: Annotated[Path | None, typer.Option("--json", help="Where to write the figures too.")] = None,
) -> None:
    """Measure and print."""
    set_up = scene(encoder, data, attack, check_eps(eps), images)
    count = len(set_up.batch.ids)
    with frozen(set_up.model):
        standing = turns(set_up)
        everywhere = [torch.arange(count)] * len(set_up.members)
        work: dict[str, Callable[[], Tensor]] = {
            STANDING: partial(floors, set_up, standing),
            "floor on all": partial(floors, set_up, everywhere),
            "naive loops on all": partial(loops, set_up),
            ALL: partial(members_on_all, set_up),
            **theirs(set_up),
            "ensemble": partial(ours, set_up, attack, False),
            "ensemble, settling": partial(ours, set_up, attack, True),
        }
        timed = in_turn(work, rounds)
        attacks: Mapping[str, Tensor] = {name: found for name, found in timed.found.items() if "floor" not in name}
        left = {name: right(set_up.model, found, set_up.batch.target) for name, found in attacks.items()}
    accuracy = {name: stands.float().mean().item() for name, stands in left.items()}
    rows = rows_of(timed.seconds, STANDING, ALL, accuracy=accuracy)
    show(rows, note=lambda row: f"accuracy {row['accuracy']:.3f}" if "accuracy" in row else "")
    given = [len(rows) for rows in standing]
    typer.echo(f"images that stand when a member's turn comes: {', '.join(map(str, given))}")
    names = [member.spec for member in set_up.members]
    tell(path, encoder=encoder, data=data, attack=attack, eps=eps, members=names, standing=given, rows=rows)


if __name__ == "__main__":
    typer.run(main)
