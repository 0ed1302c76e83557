"""``brittle run``: measure a plan."""

import math
import os
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from brittle.core import components, progress
from brittle.core.errors import CellError, MissingError, UsageError, unknown
from brittle.core.records import Result
from brittle.core.spec import Spec, listed, parse
from brittle.core.text import show
from brittle.planning import plan as plans
from brittle.planning import sweep, words
from brittle.planning.plan import Plan
from brittle.planning.warm_start import titled
from brittle.reports.parts import answer, wording
from brittle.results import store

if TYPE_CHECKING:
    from brittle.evaluation.forecast import Forecast
    from brittle.evaluation.machine import Machine

EMBEDDED_DEFAULT = "demo"
Many = list[str] | None


class NormOption(StrEnum):
    """Norms of a budget."""

    linf, l2, l1 = "linf", "l2", "l1"


def run(
    name: Annotated[
        str | None,
        typer.Argument(metavar="PLAN", help="A plan file or the name of a packaged plan.", show_default="demo"),
    ] = None,
    encoder: Annotated[
        Many, typer.Option("-e", "--encoder", metavar="ENC", help="Encoder spec, such as timm:NAME.")
    ] = None,
    model: Annotated[Many, typer.Option("--model", metavar="NET", help="A whole network, such as hf:ORG/NAME.")] = None,
    data: Annotated[
        Many, typer.Option("-d", "--data", metavar="DATA", help="Data set spec, such as folder:DIR.")
    ] = None,
    task: Annotated[
        Many, typer.Option("-t", "--task", metavar="TASK", help="Task spec.", show_default="all that the data allow")
    ] = None,
    attack: Annotated[
        Many,
        typer.Option(
            "-a",
            "--attack",
            metavar="ATTACK",
            help="Attack spec, or downstream for the task's own.",
            show_default="embed, downstream",
        ),
    ] = None,
    eps: Annotated[
        Many, typer.Option("--eps", metavar="EPS", help="Budget in pixel units.", show_default="8/255 in linf")
    ] = None,
    norm: Annotated[NormOption | None, typer.Option("--norm", help="Norm of the budget.", show_default="linf")] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option("--seed", min=0, metavar="N", help="Seed of heads and random starts.", show_default="0"),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, metavar="N", help="Use so many test images, drawn by name.", show_default="all"),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            metavar="SPEC",
            help="How images are measured, such as standard(subset=first).",
            show_default="standard",
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir", metavar="DIR", help="Run folder.", show_default="runs/PLAN, or runs/ENC-DATA-HASH"
        ),
    ] = None,
    data_root: Annotated[
        str, typer.Option("--data-root", metavar="DIR", help="What {data} stands for in a plan.", show_default="here")
    ] = ".",
    weights_root: Annotated[
        str,
        typer.Option("--weights-root", metavar="DIR", help="What {weights} stands for in a plan.", show_default="here"),
    ] = ".",
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    precision: Annotated[
        str, typer.Option("--precision", metavar="NAME", help="auto, fp32 or bf16, for attacks.")
    ] = "auto",
    compiles: Annotated[
        Literal["auto", "on", "off"],
        typer.Option("--compile", help="Compile the encoder for attacks; auto: on a GPU, for those that take long."),
    ] = "auto",
    batch_size: Annotated[
        str, typer.Option("--batch-size", metavar="N", help="auto or a number; no result depends on it.")
    ] = "auto",
    num_workers: Annotated[
        int, typer.Option("--num-workers", min=0, max=1024, metavar="N", help="Threads that read images.")
    ] = 0,
    executor: Annotated[
        str,
        typer.Option(
            "--executor",
            metavar="NAME",
            help="Who measures: local, this machine; slurm or ray, a cluster; manual, whoever you start.",
        ),
    ] = "local",
    devices: Annotated[
        int | None,
        typer.Option(
            "--devices",
            min=0,
            max=4096,
            metavar="N",
            help="Workers at once, one a GPU, or on the CPU; 0 for all.",
            show_default="1",
        ),
    ] = None,
    keep_adversarial: Annotated[
        bool, typer.Option("--keep-adversarial", help="Keep the attacked images, for stored:RUN.")
    ] = False,
    checks: Annotated[
        Literal["none", "fast", "full"] | None,
        typer.Option("--checks", help="Evidence to gather for every attacked number.", show_default="fast"),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="List the cells, which are done, and what the others take; measure nothing."),
    ] = False,
    max_hours: Annotated[
        float,
        typer.Option("--max-hours", min=0, metavar="H", help="Refuse a plan that takes longer.", show_default="any"),
    ] = math.inf,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON instead of a table.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never ask a hub.")] = False,
    fail_under: Annotated[
        float | None,
        typer.Option("--fail-under", metavar="X", help="Exit 5 if a higher-is-better headline is lower."),
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show tracebacks.")] = False,
) -> None:
    """Measure encoders on data sets, tasks and attacks. Without a plan, -e or -d: the embedded default.

    -e, -d, -t, -a, --eps and --seed may be given several times; all but --seed take lists with commas as well.

    \b
    Examples:
      brittle run
      brittle run -e timm:resnet18 -d folder:images -a embed,pgd --limit 100
      brittle run -e embedded:dino,embedded:deacl -d scenes -t depth \\
        -a "pgd(steps=40)" --eps 4/255,8/255 --output-dir runs/two
      brittle run paper --data-root DATA --weights-root WEIGHTS --dry-run
    """
    progress.quiet = quiet
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's client is imported
    executor = _executor(executor, devices)
    if batch_size != "auto" and not re.fullmatch("[1-9][0-9]{0,8}", batch_size):
        raise UsageError(f"--batch-size {batch_size}: must be auto or a whole number above 0")
    if math.isnan(max_hours):
        raise UsageError(f"--max-hours {max_hours}: must be a number of hours")
    if fail_under is not None and not math.isfinite(fail_under):
        raise UsageError(f"--fail-under {fail_under}: must be a finite number")
    encoder = [*(encoder or ()), *(f"model:{text}" for text in _listed("models", model) or ())] or None
    options: dict[str, Any] = {
        **{kind: _listed(kind, texts) for kind, texts in (("encoders", encoder), ("datasets", data), ("tasks", task))},
        "attacks": _listed("attacks", attack, words.DOWNSTREAM, words.CLEAN),
        "eps": [each.strip() for text in eps for each in text.split(",")] if eps else None,
        "norm": norm.value if norm else None,
        "seeds": seed,
        "limit": limit,
        "protocol": protocol,
        "checks": checks,
    }
    roots = {"data": data_root, "weights": weights_root}
    plan, original = _plan(name, {key: value for key, value in options.items() if value is not None}, roots)
    folder = output_dir or plans.folder(plan, original)
    store.Store(folder)  # a path that is a file is refused before anything heavy starts
    from brittle.api import running
    from brittle.evaluation import machine

    at_once = 0 if batch_size == "auto" else int(batch_size)
    where = machine.machine(device, at_once, num_workers, precision, keep_adversarial, compiles=compiles)
    missing = sweep.unavailable(plan)
    if dry_run:
        _outline(plan, missing, store.Store(folder), where, executor, max_hours)
        return
    if len(missing) > 1 and not sweep.left(plan, missing):
        for text, why in missing.items():
            progress.say(f"missing {text}: {why}", always=True)
        raise MissingError(f"nothing is left to measure: {len(missing)} encoders and data sets are missing")
    results = running.execute(plan, folder, where, executor, max_hours)
    report = components.component("reports", "json" if as_json else plan.report).function
    show(report(results), wording.TINTS)
    progress.say(f"written: {folder}/report/report.html, .md, .csv, .json")
    progress.say(answer.sentence_of(results))
    raise typer.Exit(_exit_code(results, fail_under) or (MissingError.exit_code if missing else 0))


def _executor(text: str, devices: int | None) -> str:
    """The launcher's complete spec, with ``--devices`` in it."""
    spec = parse(text)
    if spec.name not in components.names("launch"):
        raise unknown("executor", spec.name, components.names("launch"))
    if devices is not None:
        spec = Spec(spec.name, spec.argument, {**spec.settings, "devices": devices})
    return str(components.complete("launch", spec))


def _listed(kind: str, texts: Many, *more: str) -> Many:
    """The specs that an option was given, those of lists with commas one by one."""
    known = {*components.names(kind), *more}
    return [each for text in texts for each in listed(text, known)] if texts else None


def _outline(
    plan: Plan, missing: dict[str, str], folder: store.Store, where: "Machine", executor: str, max_hours: float
) -> None:
    """What a plan would do: what is missing for it, then the cells that can be measured, and what they take."""
    from brittle.api import running
    from brittle.evaluation import disk

    for text, why in missing.items():
        show(f"lacks  {text}: {why}")
    if not sweep.left(plan, missing):
        return
    cells = running.cells_of(plan, where.precision)
    to_do = set(folder.missing(list(cells), plan.checks, where.keep))
    for key, cell in cells.items():
        show(f"{'to do' if key in to_do else 'done '}  {key}  {titled(cell)}")
    passes = [running.passes_of(cells[key]) for key in to_do]
    forwards, backwards = sum(each.forwards for each in passes), sum(each.backwards for each in passes)
    progress.say(disk.said(*disk.needs_of((cells[key] for key in to_do), where.device)))
    progress.say(f"at most {forwards:,} forward and {backwards:,} backward passes of an image, less what is shared")
    if to_do:
        lacking = {key: cell for key, cell in cells.items() if key in to_do}
        told, workers, seconds = running.foreseen(lacking, where, plan.checks, executor)
        progress.say(_forecast(told, workers, seconds, where.device))
        running.require_time(seconds, max_hours)


def _forecast(told: "Forecast", workers: int, seconds: tuple[float, float], device: str) -> str:
    """In words."""
    of = "GPU memory" if device.startswith("cuda") else "memory"
    least, most = zip(*told.cells.values()) if told.cells else ((), ())
    heads = progress.duration(sum(told.heads.values()))
    parts = f"heads {heads}, cells {_between(sum(least), sum(most))} of one worker"
    who = "1 worker" if workers == 1 else f"{workers} workers"
    less = f"; without {len(told.unknown)} cells: {next(iter(told.unknown.values()))}" if told.unknown else ""
    if told.reckoned:
        less += f"; {told.reckoned} of {len(told.heads)} heads by their size, not by a trial"
    return f"about {_between(*seconds)} with {who} ({parts}), {told.memory / 1e9:.1f} GB of {of} each{less}"


def _between(least: float, most: float) -> str:
    """Two times, or one where they say about the same."""
    longest = progress.duration(most)
    return longest if most <= 1.2 * least else f"{progress.duration(least)} to {longest}"


def _plan(name: str | None, options: dict[str, Any], roots: dict[str, str]) -> tuple[Plan, Plan | None]:
    """The plan named, with options of the command line in place of its own values, and as it is without them; or a plan
    of those options alone."""
    if name is None and "encoders" not in options and "datasets" not in options:
        name = EMBEDDED_DEFAULT
    if name is not None:
        named = plans.read(name, roots)
        values = named.model_dump(exclude_unset=True)
        if options.get("norm", named.norm) != named.norm:
            values.pop("eps", None)  # a budget belongs to its norm
        return plans.make(**{**values, **options}), named
    for key, option in (("encoders", "-e"), ("datasets", "-d")):
        if key not in options:
            raise UsageError(f"no {option} given; name at least one of the {key}, or neither for the embedded default")
    return plans.make(**options), None


def _exit_code(results: list[Result], fail_under: float | None) -> int:
    if any(result.failed is not None for result in results):
        return CellError.exit_code
    judged = [result for result in results if result.task["higher_is_better"]]
    if fail_under is not None and any(result.metrics[result.task["headline"]] < fail_under for result in judged):
        return 5
    return 0
