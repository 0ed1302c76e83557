"""The command line's ``data``: check a data set, describe it, download it."""

from typing import Annotated

import typer

from brittle.cli.list import describe
from brittle.core import progress
from brittle.core.text import show

data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at a data set: check, info, download.")


@data_app.command(name="check")
def data_check(
    name: Annotated[str, typer.Argument(metavar="SPEC", help="Data set spec, such as voc2012:DIR.")],
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Read only the first images of each split.")
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Read a whole data set and say what is in it. Exit 3 if something in it is wrong.

    \b
    Examples:
      brittle data check folder:images
      brittle data check voc2012:DIR --limit 100
    """
    progress.quiet = quiet
    from brittle.datasets.parts import audit

    reports = audit.audit(name, limit)
    for split in reports:
        show(split.text())
    defects = [line for split in reports for line in split.defects]
    for line in defects:
        show(f"defect: {' '.join(line.split())}")
    raise typer.Exit(3 if defects else 0)


@data_app.command(name="info")
def data_info(
    name: Annotated[str, typer.Argument(metavar="SPEC", help="Data set spec or name, such as ade20k.")],
) -> None:
    """Say where to get a data set and how it must lie. With its licence and its settings.

    \b
    Examples:
      brittle data info ade20k
    """
    describe(name, ("datasets",))


@data_app.command(name="download")
def data_download(
    name: Annotated[str, typer.Argument(metavar="SPEC", help="Data set spec, such as cifar10:DIR.")],
) -> None:
    """Fetch a data set into its folder. Where torchvision or the hub has a reader for it.

    \b
    Examples:
      brittle data download cifar10:DIR
    """
    from brittle.datasets.parts import publisher

    show(publisher.download(name))
