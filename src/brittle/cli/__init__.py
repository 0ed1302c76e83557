"""The command line: nothing heavy is imported until it is needed."""

import ast
import os
import re
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

import brittle
from brittle.core.errors import BrittleError, CellError, MissingError, UsageError
from brittle.core.files import FULL
from brittle.core.text import folded, plain, printable_output, show, tinted

TERMINATED = 143
STOPPED = {130: "stopped", TERMINATED: "terminated"}
"""What the codes say of a command that did not come to its end."""

COMMANDS = {
    **{name: f"{name}:{name}" for name in ("run", "work")},
    "status": "work:status",
    "report": "report:report",
    "compare": "report:compare",
    "leaderboard": "leaderboard:leaderboard",
    "finetune": "finetune:finetune",
    "info": "list:info",
    "verify": "doctor:verify",
    "doctor": "doctor:doctor",
    "list": "list:list_",
    "show": "show:show_",
    "data": "data:data_app",
    "cache": "cache:cache_app",
}
"""Each command's file in this folder, and what it is there."""
HOW: dict[str, Any] = {
    "no_args_is_help": True,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class _Commands(TyperGroup):
    """A group whose commands are imported when they are asked for; what all of them are is read from their files."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        file, name = COMMANDS[cmd_name].split(":")
        if self._listing:
            return TyperCommand(cmd_name, help=_docstring(file, name))
        found = getattr(import_module(f"brittle.cli.{file}"), name)
        around = typer.Typer(**HOW)
        if isinstance(found, typer.Typer):
            around.add_typer(found, name=cmd_name)
        else:
            around.command(name=cmd_name)(found)
            around.command(name="")(version)  # with a single command typer makes no group
        return cast(Any, get_group(around)).commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        super().format_commands(ctx, formatter)
        self._listing = False


def _docstring(file: str, name: str) -> str:
    """What a command, or a group of commands, says of itself, without importing it."""
    for node in ast.parse((Path(__file__).parent / f"{file}.py").read_text(encoding="utf8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return ast.get_docstring(node) or ""
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and ast.unparse(node.targets[0]) == name:
            return next(str(ast.literal_eval(word.value)) for word in node.value.keywords if word.arg == "help")
    raise LookupError(f"no {name} in {file}.py")


app = typer.Typer(cls=_Commands, help="How brittle is your vision encoder?", **HOW)


@app.command()
def version() -> None:
    """Print the version."""
    show(f"brittle {brittle.__version__}")


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
