"""``brittle leaderboard``: a static site from the runs of several people."""

from pathlib import Path
from typing import Annotated

import typer

from brittle.core import files, progress


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders.")],
    output_dir: Annotated[Path, typer.Option("--output-dir", metavar="SITE", help="Where to write the site.")],
) -> None:
    """Make a static site of runs: a row for each encoder. Numbers of another protocol have a table of their own, and
    each run its page beside it.

    \b
    Examples:
      brittle leaderboard runs/mine runs/yours --output-dir site
    """
    from brittle.results.site import refuse_other, site

    folder = files.expanded(output_dir)
    files.check_folder(folder)
    refuse_other(folder)
    for name, text in site(runs).items():
        files.write_whole(folder / name, text.encode())
        progress.say(f"written: {folder / name}")
