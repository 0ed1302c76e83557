"""The cells of a plan: every encoder on every data set, task and attack that fit together, and how one budget goes on from another."""

from collections.abc import Sequence
from dataclasses import replace

from brittle import plan, spec
from brittle.errors import MissingError, UsageError
from brittle.plan import Cell, Plan


def grid(asked: Plan) -> tuple[list[Cell], list[str]]:
    """The cells of a plan, clean ones first for each task, and a line for each pair left out because it does not fit or is not there.

    Raises:
        UsageError: a spec, a setting or eps that makes no sense, or a plan that leaves nothing.
        MissingError: nothing is left because data or weights are not there.
    """
    sizes = sorted({plan.check_eps(value, asked.norm) for value in asked.eps})
    missing = lacking(asked)
    there = [text for text in asked.encoders if text not in missing]
    encoders = list(dict.fromkeys(plan.short("encoders", one) for text in there for one in expanded(text, "encoders")))
    datasets = [plan.short("datasets", text) for text in asked.datasets if text not in missing]
    attacks = [
        text if text == "downstream" else plan.short("attacks", one)
        for text in asked.attacks
        if text != "clean"
        for one in ([text] if text == "downstream" else expanded(text, "attacks"))
    ]
    tasks = [plan.short("tasks", text) for text in asked.tasks] or [name for name in spec.names("tasks") if plan.task_of(name).target]
    cells: list[Cell] = []
    notes = [f"missing {text}: {why}" for text, why in missing.items()]
    for dataset in datasets:
        kinds = plan.dataset_of(dataset, "test").classes
        for task in tasks:
            made = plan.task_of(task)
            if made.target and made.target not in kinds:
                if asked.tasks:
                    notes.append(f"left out {task} on {dataset}: it has no {made.target}, only {', '.join(kinds)}")
                continue
            chosen = list(dict.fromkeys(plan.short("attacks", made.attack) if text == "downstream" else text for text in attacks))
            for text in [text for text in chosen if not fits(text, made.name)]:
                notes.append(f"left out {text} on {task}: it is for {', '.join(_only(text) or ())}")
                chosen.remove(text)
            for encoder in encoders:
                for seed in asked.seeds:
                    shared = (seed, asked.limit, asked.protocol)
                    cells.append(Cell(encoder, dataset, task, None, None, None, *shared))
                    for text in chosen:
                        cells += [Cell(encoder, dataset, task, *budget, *shared) for budget in _budgets(text, sizes, asked.norm)]
    if attacks and cells and not any(cell.attack for cell in cells):
        raise UsageError(f"no attack of the plan is left: {'; '.join(notes)}")
    if not cells and missing:
        raise MissingError("; ".join(missing.values()))
    if not cells:
        raise UsageError(f"the plan leaves nothing to measure: {'; '.join(notes) or 'no task fits'}")
    cells.sort(key=lambda cell: (encoders.index(cell.encoder), datasets.index(cell.dataset), cell.seed))  # stable: load each encoder once
    return list(dict.fromkeys(cells)), notes


def lacking(asked: Plan) -> dict[str, str]:
    """Encoder and data set specs of a plan whose files are not there, each with what was looked for and where to get it."""
    found: dict[str, str] = {}
    for kind, texts in (("encoders", asked.encoders), ("datasets", asked.datasets)):
        for text in texts:
            try:
                for one in expanded(text, kind) if kind == "encoders" else ():
                    plan.weights_of(one)
                if kind == "datasets":
                    plan.dataset_of(plan.short(kind, text), "test")
            except MissingError as error:
                source = next((source for name, source in asked.sources.items() if name in text), "")
                found[text] = f"{error}{f'; get it from {source}' if source else ''}"
    return found


def expanded(text: str, kind: str) -> list[str]:
    """The components that one spec stands for: a folder of checkpoints gives an encoder for each. A component's ``expand`` says which."""
    parsed = spec.parse(text)
    expand = getattr(spec.module(kind, parsed.name), "expand", None)
    arguments = expand(parsed.argument) if expand else [parsed.argument]
    return [str(spec.Spec(parsed.name, argument, parsed.settings)) for argument in arguments]


def _budgets(attack: str, sizes: Sequence[float], norm: str) -> list[tuple[str, float, str]]:
    """Attack, eps and norm of each cell of an attack; of one that is on disk, those that it was made with."""
    parsed = spec.parse(attack)
    module = spec.module("attacks", parsed.name)
    if hasattr(module, "about"):
        made = module.about(parsed.argument)
        return [(attack, float(made["eps"]), str(made["norm"]))]
    return [(warmed(attack, [each for each in sizes if 0 < each < eps]), eps, norm) for eps in sizes]


def warmed(attack: str, smaller: Sequence[float]) -> str:
    """An attack that goes on from what it found with smaller budgets; itself where there are none, or where damage cannot say which start
    is the better one."""
    if not smaller or _aloof(attack):
        return attack
    return plan.short("attacks", str(spec.Spec("warm", "", {"attack": attack, "eps": list(smaller)})))


def _aloof(attack: str) -> bool:
    """Whether an attack is after something else than the head's damage: it looks at none (``HEADLESS``), has an aim of its own (``AIMED``),
    or learns on other pictures (``learn``)."""
    full = spec.complete("attacks", attack)
    inner = full.settings.get("attack")
    parts = [spec.module("attacks", full.name)]
    parts += [spec.module("objectives", spec.parse(str(full.settings["objective"])).name)] if "objective" in full.settings else []
    words = ("HEADLESS", "AIMED", "learn")
    return any(getattr(part, word, False) for part in parts for word in words) or (inner is not None and _aloof(str(inner)))


def bare(attack: str) -> str:
    """An attack without its warm start; only read, so that a report imports no attack."""
    parsed = spec.parse(attack)
    return str(parsed.settings.get("attack", "pgd")) if parsed.name == "warm" else attack


def before(cell: Cell) -> Cell | None:
    """The cell of the next smaller budget, whose images this one goes on from; None where it begins afresh."""
    full = spec.complete("attacks", cell.attack) if cell.attack else None
    if full is None or full.name != "warm":
        return None
    *rest, last = full.settings["eps"]  # type: ignore[misc]
    return replace(cell, attack=warmed(plan.short("attacks", bare(str(full))), [float(each) for each in rest]), eps=float(last))  # type: ignore[arg-type]


def fits(attack: str, task: str) -> bool:
    """Whether an attack makes sense on a task."""
    only = _only(attack)
    return only is None or task in only


def _only(attack: str) -> tuple[str, ...] | None:
    """The tasks an attack is for, by its own word and those of what its settings name; None for all.

    Raises:
        UsageError: inside it is an attack that has to learn from training pictures first.
    """
    full = spec.complete("attacks", attack)
    inner = [(spec.kind_of(key), text) for key, value in full.settings.items() for text in spec.nested(key, value)]
    for name in [spec.parse(text).name for kind, text in inner if kind == "attacks"]:
        if hasattr(spec.module("attacks", name), "learn"):
            raise UsageError(f"{attack}: {name} learns from training pictures before it attacks; run it by itself, with -a {name}")
    said = [getattr(spec.module("attacks", full.name), "TASKS", None)]
    said += [_only(text) if kind == "attacks" else getattr(spec.module(kind, spec.parse(text).name), "TASKS", None) for kind, text in inner]
    words = [set(tasks) for tasks in said if tasks is not None]
    return tuple(sorted(set.intersection(*words))) if words else None
