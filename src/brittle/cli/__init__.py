"""The command line: nothing heavy is imported until it is needed."""

import os
import signal
import sys
from typing import Annotated, NoReturn

import typer

from brittle import __version__
from brittle.cli.data import data_app
from brittle.cli.doctor import doctor, verify
from brittle.cli.finetune import finetune
from brittle.cli.list import list_
from brittle.cli.report import compare, report
from brittle.cli.run import run
from brittle.cli.show import show
from brittle.core.errors import BrittleError, CellError, MissingError, UsageError
from brittle.core.files import FULL
from brittle.core.text import plain, printable_output

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="How brittle is your vision encoder?",
)
for command in (run, report, compare, show, finetune, verify, doctor):
    app.command()(command)
app.command(name="list")(list_)
app.add_typer(data_app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"brittle {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
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
        app()
        sys.exit(0)
    except BrittleError as error:
        if verbose:
            raise
        print(f"brittle: {plain(' '.join(str(error).split()))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (SystemExit, KeyboardInterrupt) as stop:  # typer makes an exit of 130 out of Ctrl-C
        code = 130 if isinstance(stop, KeyboardInterrupt) else stop.code
        if code == 130:
            print("brittle: stopped; what is done is kept, the same command continues", file=sys.stderr)
        sys.exit(code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if verbose:
            raise
        print(plain(f"brittle: {error.strerror or error}: {error.filename or ''}".rstrip(": ")), file=sys.stderr)
        sys.exit(_code_of(error))


def _code_of(error: OSError) -> int:
    """What the command ends with: a disk with no room left loses cells, a file that is not there is missing, any other
    path cannot be used."""
    if error.errno in FULL:
        return CellError.exit_code
    return MissingError.exit_code if isinstance(error, FileNotFoundError) else UsageError.exit_code


def _terminated(_signal: int, _frame: object) -> NoReturn:
    print("brittle: terminated; what is done is kept, the same command continues", file=sys.stderr)
    os._exit(143)
