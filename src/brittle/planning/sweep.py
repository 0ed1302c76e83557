"""The cells of a plan: every encoder on every data set, task and attack that fit together."""

from collections.abc import Collection, Sequence
from pathlib import Path

from brittle.core import budget, components
from brittle.core.errors import MissingError, UnreachableError, UsageError
from brittle.core.records import Cell
from brittle.core.spec import Spec, parse
from brittle.core.traits import AttackTraits, DatasetTraits, EncoderTraits, predicted
from brittle.core.tree import tree
from brittle.planning.identity import dataset_of, has_features, predicts, task_of, weights_of, whole
from brittle.planning.plan import Plan
from brittle.planning.protocols import is_paper
from brittle.planning.warm_start import warmed
from brittle.planning.words import CLEAN, DOWNSTREAM

FEW = 64
"""Fewer test images than this are a trial, for which data sets that are made on the fly are smaller."""


def cells_of(plan: Plan) -> tuple[list[Cell], list[str]]:
    """The cells of a plan, clean ones first for each task, and a line for each pair left out because it does not fit or
    is not there.

    Raises:
        UsageError: a spec, a setting or eps that makes no sense, or a plan that leaves nothing.
        MissingError: nothing is left because data or weights are not there.
    """
    sizes = sorted({budget.check_eps(value, plan.norm) for value in plan.eps})
    missing = unavailable(plan)
    encoders = _canonical("encoders", [text for text in plan.encoders if text not in missing])
    notes = [f"missing {text}: {why}" for text, why in missing.items()]
    datasets = [_sized(text, plan.limit, notes) for text in plan.datasets if text not in missing]
    attacks = [
        name
        for text in plan.attacks
        if text != CLEAN
        for name in ([text] if text == DOWNSTREAM else _canonical("attacks", [text]))
    ]
    tasks = [components.canonical("tasks", text) for text in plan.tasks]
    cells: list[Cell] = []
    for dataset in datasets:
        for task in _tasks(tasks, dataset, notes):
            chosen = _fitting(attacks, task, notes)
            for encoder in encoders:
                if why := _unfit(encoder, task, plan.protocol):
                    notes.append(f"left out {encoder} on {task}: {why}")
                    continue
                suited = _followed(chosen, encoder, notes)
                for seed in plan.seeds:
                    shared = (seed, plan.limit, plan.protocol)
                    cells.append(Cell(encoder, dataset, task, None, None, None, *shared))
                    budgets = [each for text in suited for each in _budgets(text, sizes, plan.norm)]
                    cells += [Cell(encoder, dataset, task, *each, *shared) for each in budgets]
    if attacks and cells and not any(cell.attack for cell in cells):
        raise UsageError(f"no attack of the plan is left: {'; '.join(notes)}")
    if not cells and missing:
        raise MissingError("; ".join(missing.values()))
    if not cells:
        raise UsageError(f"the plan leaves nothing to measure: {'; '.join(notes) or 'no task fits'}")
    # stable, so that each encoder is loaded once
    cells.sort(key=lambda cell: (encoders.index(cell.encoder), datasets.index(cell.dataset), cell.seed))
    return list(dict.fromkeys(cells)), list(dict.fromkeys(notes))


def _unfit(encoder: str, task: str, protocol: str) -> str:
    """Why a whole network is not for a task or a protocol; empty where it is, and of an encoder."""
    if not whole(encoder):
        return ""
    if predicts(encoder) != task_of(task).abilities:
        return f"the network predicts {predicted(predicts(encoder))}, {task} is {predicted(task_of(task).abilities)}"
    if is_paper(protocol):
        return f"protocol {protocol} is for encoders with a fitted head; use protocol standard"
    return ""


def _followed(attacks: Sequence[str], encoder: str, notes: list[str]) -> list[str]:
    """Those of the attacks that find in a whole network what they follow."""
    if has_features(encoder):
        return list(attacks)
    missing = {text for text in attacks for part in tree("attacks", text).walk() if part.sees == "encoder"}
    notes += [
        f"left out {text} on {encoder}: it follows an encoder, and none is known in this network; say features=MODULE"
        for text in attacks
        if text in missing
    ]
    return [text for text in attacks if text not in missing]


def _canonical(kind: str, texts: Sequence[str]) -> list[str]:
    """Canonical specs of all that some texts stand for, each once."""
    every = (components.canonical(kind, one) for text in texts for one in expanded(text, kind))
    return list(dict.fromkeys(every))


def _sized(text: str, limit: int | None, notes: list[str]) -> str:
    """The canonical spec of a data set; of one that has settings for few test images, with these where there are few
    and none of them is set."""
    spec = parse(text)
    traits = components.component("datasets", spec.name).traits
    small = traits.small if isinstance(traits, DatasetTraits) and limit is not None and limit < FEW else {}
    if small and not small.keys() & spec.settings.keys():
        spec = Spec(spec.name, spec.argument, {**spec.settings, **small})
        notes.append(f"{text} is {spec}, as fewer than {FEW} test images are measured; name its sizes for others")
    return components.canonical("datasets", str(spec))


def _tasks(named: Sequence[str], dataset: str, notes: list[str]) -> list[str]:
    """The tasks that a data set has targets for, of those named; without any named, of all those that need a target."""
    kinds = dataset_of(dataset, "test").classes
    tasks: list[str] = []
    for text in named or [name for name in components.names("tasks") if task_of(name).target]:
        target = task_of(text).target
        if target is None or target.name in kinds:
            tasks.append(text)
        elif named:
            notes.append(f"left out {text} on {dataset}: it has no {target.name}, only {', '.join(kinds)}")
    return tasks


def _fitting(attacks: Sequence[str], task: str, notes: list[str]) -> list[str]:
    """Those of the attacks whose needs a task meets, ``downstream`` replaced by the task's own."""
    own = task_of(task).attack
    chosen = [components.canonical("attacks", own) if text == DOWNSTREAM else text for text in attacks]
    fitting: list[str] = []
    for text in dict.fromkeys(chosen):
        if why := misfit("attacks", text, task):
            notes.append(f"left out {text} on {task}: {why}")
        else:
            fitting.append(text)
    return fitting


def misfit(kind: str, text: str, task: str) -> str:
    """What within an attack or an objective makes no sense on a task, and why; empty where all of it does."""
    abilities = task_of(task).abilities
    for part in tree(kind, text).walk():
        if needs := frozenset(part.traits.needs) - abilities:
            what = (
                f"{components.singular(part.kind)} {part.spec.name!r} needs {predicted(needs | set(part.traits.needs))}"
            )
            return f"{what}; {task} predicts {predicted(abilities)}"
    return ""


def unavailable(plan: Plan) -> dict[str, str]:
    """Encoder and data set specs of a plan whose files are not there, each with what was looked for and where to get
    it."""
    missing: dict[str, str] = {}
    for kind, texts in (("encoders", plan.encoders), ("datasets", plan.datasets)):
        for text in texts:
            try:
                if kind == "encoders":
                    for one in expanded(text, kind):
                        weights_of(one)
                else:
                    dataset_of(components.canonical(kind, text), "test")
            except MissingError as error:
                argument = parse(text).argument
                path = argument and not isinstance(error, UnreachableError)
                if path and not Path(argument).is_absolute() and argument[0] != "~":
                    error = f"{error}; a relative path is looked for in {Path.cwd()}"
                source = next((source for name, source in plan.sources.items() if name in text), "")
                missing[text] = f"{error}{f'; get it from {source}' if source else ''}"
    return missing


def left(plan: Plan, missing: Collection[str]) -> bool:
    """Whether a plan has both encoders and data sets that are not missing."""
    return all(any(text not in missing for text in texts) for texts in (plan.encoders, plan.datasets))


def expanded(text: str, kind: str) -> list[str]:
    """The components that one spec stands for: a folder of checkpoints gives an encoder for each."""
    try:
        parsed = parse(text)
        of, named = components.meant(kind, parsed)
        traits = components.component(of, named.name).traits
    except UsageError:
        for name in components.names(kind) if ":" not in text else ():
            traits = components.component(kind, name).traits
            if isinstance(traits, EncoderTraits) and traits.claims and traits.claims(text.partition("(")[0]):
                meant = f"did you mean '{name}:{text}'?"
                raise UsageError(f"no {components.singular(kind)} {text!r}; {meant}") from None
        raise
    expand = traits.expand if isinstance(traits, EncoderTraits) else None
    if isinstance(traits, AttackTraits) and traits.stored:
        expand = traits.stored.expand
    arguments = expand(parsed.argument) if expand and named == parsed else [parsed.argument]
    return [str(Spec(parsed.name, argument, parsed.settings)) for argument in arguments]


def _budgets(attack: str, sizes: Sequence[float], norm: str) -> list[tuple[str, float, str]]:
    """Attack, eps and norm of each cell of an attack; of one that is on disk, those that it was made with."""
    part = tree("attacks", attack)
    if stored := part.attack_traits.stored:
        cell = stored.about(part.spec.argument)
        return [(attack, float(cell["eps"]), str(cell["norm"]))]
    return [(warmed(attack, [each for each in sizes if 0 < each < eps]), eps, norm) for eps in sizes]
