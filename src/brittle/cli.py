"""The command line, but for ``data``: nothing heavy is imported until it is needed."""

import json
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from brittle import __version__, grid, plan, progress, spec, store
from brittle.cli_data import data_app
from brittle.errors import BrittleError, CellError, MissingError, UsageError, unknown
from brittle.plan import Result

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, help="How brittle is your vision encoder?")
app.add_typer(data_app, name="data")
EMBEDDED_DEFAULT = "demo"
PRECISIONS = ("auto", "fp32", "bf16")


class Checks(StrEnum):
    none, fast, full = "none", "fast", "full"


class NormOption(StrEnum):
    linf, l2 = "linf", "l2"


Many = list[str] | None


def _version(wanted: bool) -> None:
    if wanted:
        print(f"brittle {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """How brittle is your vision encoder?"""


@app.command()
def run(
    name: Annotated[str | None, typer.Argument(metavar="[PLAN]", help="A plan file or the name of a packaged plan.")] = None,
    encoder: Annotated[Many, typer.Option("-e", "--encoder", help="Encoder spec, such as embedded:dino.")] = None,
    data: Annotated[Many, typer.Option("-d", "--data", help="Data set spec, such as scenes or folder:DIR.")] = None,
    task: Annotated[Many, typer.Option("-t", "--task", help="Task; all that the data allows if not given.")] = None,
    attack: Annotated[Many, typer.Option("-a", "--attack", help="Attack spec, or downstream for the task's own.")] = None,
    eps: Annotated[Many, typer.Option("--eps", help="Budget in pixel units, such as 8/255.")] = None,
    norm: Annotated[NormOption | None, typer.Option("--norm", help="Norm of the budget.")] = None,
    seed: Annotated[list[int] | None, typer.Option("--seed", min=0, help="Seed of heads and random starts.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Use only the first test pictures.")] = None,
    output_dir: Annotated[Path | None, typer.Option("--output-dir", help="Run folder; runs/NAME if not given.")] = None,
    data_root: Annotated[str, typer.Option("--data-root", help="What {data} stands for in a plan.")] = ".",
    weights_root: Annotated[str, typer.Option("--weights-root", help="What {weights} stands for in a plan.")] = ".",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    precision: Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16, for attacks.")] = "auto",
    batch_size: Annotated[str, typer.Option("--batch-size", help="auto or a number; changes no result.")] = "auto",
    num_workers: Annotated[int, typer.Option("--num-workers", min=0, help="Threads that read pictures.")] = 0,
    executor: Annotated[str, typer.Option("--executor", help="Where cells run: local.")] = "local",
    keep_adversarial: Annotated[bool, typer.Option("--keep-adversarial", help="Keep the attacked pictures, for stored:RUN.")] = False,
    checks: Annotated[Checks | None, typer.Option("--checks", help="Evidence to gather for every attacked number.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the cells and which are done; measure nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON instead of a table.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never ask a hub.")] = False,
    fail_under: Annotated[float | None, typer.Option("--fail-under", help="Exit 5 if a higher-is-better headline is lower.")] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show tracebacks.")] = False,
) -> None:
    """Measure encoders on data sets, tasks and attacks; without a plan, -e or -d: the embedded default."""
    progress.quiet = quiet
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's client is imported
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if batch_size != "auto" and not (batch_size.isdigit() and int(batch_size) > 0):
        raise UsageError(f"--batch-size {batch_size}: must be auto or a whole number above 0")
    given: dict[str, Any] = {
        "encoders": encoder,
        "datasets": data,
        "tasks": task,
        "attacks": attack,
        "eps": eps,
        "norm": norm.value if norm else None,
        "seeds": seed,
        "limit": limit,
        "checks": checks.value if checks else None,
    }
    roots = {"data": data_root, "weights": weights_root}
    made = _plan(name, {key: value for key, value in given.items() if value is not None}, roots)
    folder = output_dir or Path("runs") / made.name
    store.Store(folder)  # a path that is a file is refused before anything heavy starts
    from brittle import api

    where = api.machine(device, 0 if batch_size == "auto" else int(batch_size), num_workers, precision, keep_adversarial)
    missing = grid.lacking(made)
    if dry_run:
        _outline(made, missing, store.Store(folder), where.precision)
        return
    results = api.execute(made, folder, where, executor)
    print(spec.component("reports", "json" if as_json else made.report)(results))
    progress.say(f"written: {folder}/report/report.md, .csv, .json")
    raise typer.Exit(_exit_code(results, fail_under) or (MissingError.exit_code if missing else 0))


def _outline(made: plan.Plan, missing: dict[str, str], folder: store.Store, precision: str) -> None:
    """What a plan would do: a line for each encoder and data set of which something is missing, then the cells that can be measured."""
    from brittle import api

    for encoder in made.encoders:
        for data in made.datasets:
            reasons = [missing[text] for text in (encoder, data) if text in missing]
            if reasons:
                print(f"lacks  {encoder} / {data}: {'; '.join(reasons)}")
    if all(text in missing for text in made.encoders) or all(text in missing for text in made.datasets):
        return
    cells = api.cells_of(made, precision)
    lacking = set(folder.missing(list(cells)))
    for key, cell in cells.items():
        print(f"{'to do' if key in lacking else 'done '}  {key}  {cell}")


def _plan(name: str | None, given: dict[str, Any], roots: dict[str, str]) -> plan.Plan:
    """The plan named, with what was given on the command line in place of its own; or a plan of what was given alone."""
    if name is None and "encoders" not in given and "datasets" not in given:
        name = EMBEDDED_DEFAULT
    if name is not None:
        return plan.make(**{**plan.read(name, roots).model_dump(), **given})
    for key, option in (("encoders", "-e"), ("datasets", "-d")):
        if key not in given:
            raise UsageError(f"no {option} given; name at least one of the {key}, or neither for the embedded default")
    return plan.make(**given)


def _exit_code(results: list[Result], fail_under: float | None) -> int:
    if any(result.failed is not None for result in results):
        return CellError.exit_code
    judged = [result for result in results if result.task["higher_is_better"]]
    if fail_under is not None and any(result.metrics[result.task["headline"]] < fail_under for result in judged):
        return 5
    return 0


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    formats: Annotated[str, typer.Option("--format", help="table, md, csv or json; several with commas.")] = "table",
    output_dir: Annotated[Path | None, typer.Option("--output-dir", help="Write report.FORMAT there instead of printing.")] = None,
) -> None:
    """Show the results of run folders."""
    results = [result for folder in runs for result in store.read_run(folder)]
    for kind in formats.split(","):
        made = spec.component("reports", kind.strip())(results)
        if output_dir:
            store.Store(output_dir).note(f"report.{kind.strip()}", made)
            progress.say(f"written: {output_dir}/report.{kind.strip()}")
        else:
            print(made)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="A run folder.")],
    second: Annotated[Path | None, typer.Argument(metavar="[RUN_B]", help="Another; without it, RUN_A's encoders are compared.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare two runs, or the encoders of one, picture by picture: differences with intervals and tests."""
    from brittle import compare as comparing

    made, notes = comparing.compare(first, second)
    for note in notes:
        progress.say(note)
    print(comparing.as_json(made) if as_json else comparing.table(made))


@app.command(name="list")
def list_(kind: Annotated[str | None, typer.Argument(help="encoders, datasets, tasks, attacks, plans ...")] = None) -> None:
    """List components of a kind, or of all."""
    kinds = (*spec.KINDS, "plans")
    if kind is not None and kind not in kinds:
        raise unknown("kind", kind, kinds)
    for each in (kind,) if kind else kinds:
        if kind is None:
            print(f"{each}:")
        lead = "" if kind else "  "
        names = plan.packaged() if each == "plans" else spec.names(each)
        for name in names:
            print(f"{lead}{name:16}{'' if each == 'plans' else spec.summary(each, name)}".rstrip())


@app.command()
def finetune(
    method: Annotated[str, typer.Argument(help="Tuning method, such as deacl.")],
    encoder: Annotated[str, typer.Option("-e", "--encoder", help="Encoder to start from.")],
    data: Annotated[str, typer.Option("-d", "--data", help="Data set whose train split is used.")],
    set_: Annotated[Many, typer.Option("--set", help="Setting of the method, key=value.")] = None,
    output_dir: Annotated[Path | None, typer.Option("--output-dir", help="Where to write; runs/METHOD if not given.")] = None,
    devices: Annotated[int, typer.Option("--devices", min=1, help="How many GPUs.")] = 1,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Pictures a step.")] = 64,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Order of pictures and random starts.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Use only the first training pictures.")] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Tune an encoder for robustness; what comes out is an encoder again, file:DIR/encoder.safetensors."""
    progress.quiet = quiet
    parsed = spec.parse(method)
    extra = spec.parse(f"x({', '.join(set_ or [])})").settings if set_ else {}
    settings = {**parsed.settings, **extra, **({"devices": devices} if devices > 1 else {})}
    full = spec.complete("tuning", spec.Spec(parsed.name, parsed.argument, settings))
    folder = output_dir or Path("runs") / parsed.name
    from brittle import api

    print(api.finetune(str(full), encoder, data, output_dir=folder, batch_size=batch_size, seed=seed, limit=limit))


@app.command()
def verify(
    full: Annotated[bool, typer.Option("--full", help="Also those that take minutes.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Run the engine against recorded values of independent implementations; exit 1 if one is not met."""
    progress.quiet = quiet
    from brittle import verify as oracles

    lines: list[oracles.Line] = []
    for line in oracles.verify(full):
        lines.append(line)
        print(line, flush=True)
    off = [line.name for line in lines if not line.ok]
    if off:
        raise BrittleError(f"{len(off)} of {len(lines)} recorded values are not met: {'; '.join(off)}")


@app.command()
def doctor() -> None:
    """Say what is installed, which devices there are and where things are kept; exit 1 if something needed is wrong."""
    from brittle import api

    found = api.environment()
    print(json.dumps(found, indent=1))
    cache = Path(found["cache"])
    try:
        store.Store(cache).note(".doctor", "")
        (cache / ".doctor").unlink()
    except BrittleError as error:
        raise UsageError(f"the cache cannot be written: {error}; set BRITTLE_CACHE") from None
    for name in ("dino", "deacl"):
        spec.module("encoders", "embedded").fingerprint(name)
    progress.say("all well")


def main() -> NoReturn:
    """Run the command line; every error a user can mend is one line on stderr and an exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    verbose = "-v" in sys.argv or "--verbose" in sys.argv
    try:
        app()
        sys.exit(0)
    except BrittleError as error:
        if verbose:
            raise
        print(f"brittle: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (SystemExit, KeyboardInterrupt) as stop:  # typer makes an exit of 130 out of Ctrl-C
        code = 130 if isinstance(stop, KeyboardInterrupt) else stop.code
        if code == 130:
            print("brittle: stopped; finished cells are kept, the same command goes on", file=sys.stderr)
        sys.exit(code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if verbose:
            raise
        print(f"brittle: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        sys.exit(1)


def _terminated(_signal: int, _frame: object) -> NoReturn:
    print("brittle: terminated; finished cells are kept, the same command goes on", file=sys.stderr)
    os._exit(143)
