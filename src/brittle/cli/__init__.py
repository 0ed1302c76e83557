"""The command line: nothing heavy is imported until it is needed."""

import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from brittle import __version__
from brittle.cli.cache import cache_app
from brittle.cli.data import data_app
from brittle.cli.doctor import doctor, verify
from brittle.cli.finetune import finetune
from brittle.cli.leaderboard import leaderboard
from brittle.cli.list import info, list_
from brittle.cli.report import compare, report
from brittle.cli.run import run
from brittle.cli.show import show_
from brittle.cli.work import status, work
from brittle.core.errors import BrittleError, CellError, MissingError, UsageError
from brittle.core.files import FULL
from brittle.core.text import folded, plain, printable_output, show, tinted

TERMINATED = 143
STOPPED = {130: "stopped", TERMINATED: "terminated"}
"""What the codes say of a command that did not come to its end."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How brittle is your vision encoder?",
)
for command in (run, work, status, report, compare, leaderboard, finetune, info, verify, doctor):
    app.command()(command)
app.command(name="list")(list_)
app.command(name="show")(show_)
app.add_typer(data_app, name="data")
app.add_typer(cache_app, name="cache")


@app.command()
def version() -> None:
    """Print the version."""
    show(f"brittle {__version__}")


def _version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """How brittle is your vision encoder?"""


def main() -> NoReturn:
    """Run the command line; every error a user can fix is one line on stderr and an exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    printable_output()
    verbose = "-v" in sys.argv or "--verbose" in sys.argv
    try:
        _refuse_empty(sys.argv[1:])
        app()
        sys.exit(0)
    except BrittleError as error:
        if verbose:
            raise
        _complain(f"brittle: {plain(' '.join(str(error).split()))}")
        sys.exit(error.exit_code)
    except (SystemExit, KeyboardInterrupt) as stop:  # typer makes an exit of 130 out of Ctrl-C
        code = 130 if isinstance(stop, KeyboardInterrupt) else stop.code
        if code in STOPPED:
            print(f"brittle: {STOPPED[code]}; what is done is kept, the same command continues", file=sys.stderr)
        sys.exit(code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if verbose:
            raise
        _complain(plain(f"brittle: {error.strerror or error}: {error.filename or ''}".rstrip(": ")))
        sys.exit(_code_of(error))


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse an empty argument, such as a variable that is not set: an empty path would be the working folder."""
    for before, each in zip(["brittle", *arguments], arguments):
        if not each or re.fullmatch("--[a-z-]+=", each):
            raise UsageError(f"an empty value: {each or f'{before} {each!r}'}; give one, or leave it out")


def _complain(line: str) -> None:
    print(tinted(folded(line, sys.stderr), {r"\Abrittle:": "red"}, sys.stderr), file=sys.stderr)


def _code_of(error: OSError) -> int:
    """What the command ends with: a disk with no room left loses cells, a file that is not there is missing, any other
    path cannot be used."""
    if error.errno in FULL:
        return CellError.exit_code
    return MissingError.exit_code if isinstance(error, FileNotFoundError) else UsageError.exit_code


def _terminated(_signal: int, _frame: object) -> NoReturn:
    """End as on Ctrl-C, so that locks, other processes and the terminal's cursor are seen to; a second time at once."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(TERMINATED))
    sys.exit(TERMINATED)
