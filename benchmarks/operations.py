"""What a run asks of its file system: operations of each thing that a worker does, counted by strace in the real code.

    python benchmarks/operations.py
    BRITTLE_LOCKS=leases python benchmarks/operations.py

Needs Linux and strace. A small run (``embedded:dino``, ``scenes``, ``pgd``) is worked through in a process of its own,
with a mark between two things. Counted is what names a file of the run folder or of the cache and goes to the server
where they lie on NFS: open, close, stat, list, lock, rename, remove, make a folder, set times or mode, each read that
returns data, each fsync. What a client has in its own cache would be fewer. The images of the data set are left out:
where they lie is the user's choice. Bytes are those of one batch of 4 images at 64 pixels.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

MARK, BETWEEN = "/mark-of-operations/", "nothing"
BATCH, FEW, MANY = 4, 2, 6  # images in a batch, and batches of a small and a larger cell
TRAIN, VAL = 64, 32  # images that features are computed of
HELD = 30.0  # seconds for which a claim is held, to see what renewing it takes
KINDS = {
    **dict.fromkeys(("open", "openat", "creat"), "open"),
    **dict.fromkeys(("stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2"), "stat"),
    **dict.fromkeys(("rename", "renameat", "renameat2", "link", "linkat"), "rename"),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), "remove"),
    **dict.fromkeys(("mkdir", "mkdirat"), "mkdir"),
    **dict.fromkeys(("utimensat", "fchmod", "fchmodat", "chmod", "ftruncate"), "set"),
    **dict.fromkeys(("read", "pread64"), "read"),
    **dict.fromkeys(("write", "pwrite64"), "write"),
    **{"getdents64": "list", "flock": "lock", "fsync": "fsync", "close": "close"},
}
LINE = re.compile(r"^\d+\s+(\w+)\((.*)$")
RETURNED = re.compile(r"= (-?\d+)")


def counted(trace: str, roots: list[str]) -> dict[str, Counter[str]]:
    """Operations by kind of what was done between two marks, by the name of the mark before it; ``read bytes`` and
    ``written bytes`` too.

    Args:
        trace: what strace has written with ``-f -y``.
        roots: the folders whose files count.
    """
    found: dict[str, Counter[str]] = {}
    name = ""
    for line in trace.splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        kind, rest = KINDS.get(match[1], ""), match[2]
        if MARK in rest:
            name = rest.partition(MARK)[2].partition('"')[0]
            name = "" if name == BETWEEN else name
        if name:
            found.setdefault(name, Counter())
        own = any(root in rest for root in roots) and "/scenes/" not in rest
        if not (kind and own) or not name or "AT_EMPTY_PATH" in rest or ', "", ' in rest:
            continue
        size = int(returned[1]) if (returned := RETURNED.search(rest)) else 0
        if kind == "mkdir" and size < 0:
            continue  # it is there, as the client knows
        if kind == "write":
            found[name]["written bytes"] += max(0, size)
        elif kind != "read" or size > 0:
            found[name][kind] += 1
            found[name]["read bytes"] += size if kind == "read" else 0
    return found


def worked(folder: Path) -> None:
    """Do each thing once, in this process, with a mark before it."""
    import pytest

    from brittle.core.errors import Busy
    from brittle.core.records import Cell
    from brittle.evaluation import heads
    from brittle.evaluation.machine import Machine
    from brittle.launch.parts.cell import Work, assist_cell, run_cell
    from brittle.planning.identity import resolve
    from brittle.planning.plan import make
    from brittle.planning.sweep import cells_of
    from brittle.results.journal import Journal, Tail
    from brittle.results.store import Store

    data, found = f"scenes(train={TRAIN}, val={VAL}, test=64)", dict[tuple[bool, int], tuple[str, Cell]]()
    for batches in (FEW, MANY):
        plan = make(
            name="count",
            encoders=["embedded:dino"],
            datasets=[data],
            tasks=["classification(head=knn)"],
            attacks=["pgd(steps=1)"],
            eps=[4 / 255],
            limit=BATCH * batches,
        )
        found |= {(bool(cell.attack), batches): (resolve(cell).id, cell) for cell in cells_of(plan)[0]}
    cells = dict(found.values())
    small, large, clean = (found[key][0] for key in ((True, FEW), (True, MANY), (False, FEW)))
    store, machine = Store(folder), Machine(batch_size=BATCH, alone=False)
    alone = Work(cells, store, machine, "none")
    shared = Work(cells, store, machine, "none", large=list(cells))

    def mark(name: str, do: Callable[[], object]) -> None:
        Path(f"{MARK}{name}").exists()
        do()
        Path(f"{MARK}{BETWEEN}").exists()

    def busy(*_: object, **__: object) -> None:
        raise Busy("head")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "get_or_make", busy)
        mark("a cell whose head another is making", lambda: run_cell(alone, clean))
    mark(f"a head, features of {TRAIN} + {VAL} images", lambda: run_cell(alone, clean))
    again = replace(cells[clean], seed=1)
    second = Work({resolve(again).id: again}, store, machine, "none")
    mark("another head on the same features", lambda: run_cell(second, resolve(again).id))
    mark("cell, few batches", lambda: run_cell(alone, small))
    mark("cell, many batches", lambda: run_cell(alone, large))
    mark("a cell that is done", lambda: run_cell(alone, small))
    for name in (small, large):
        (folder / "results" / f"{name}.json").unlink()
    mark("shared, few batches", lambda: run_cell(shared, small))
    mark("shared, many batches", lambda: run_cell(shared, large))
    (folder / "results" / f"{large}.json").unlink()
    assist_cell(shared, large)
    mark("help where all is done", lambda: assist_cell(shared, large))
    mark("whether it is finished", lambda: shared.finished(large))
    script = "import sys, time; from brittle.core.claims import claimed; from pathlib import Path\n"
    script += f"with claimed(Path({str(folder / 'locks' / f'{large}.lock')!r})): print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        mark("a cell that another is at", lambda: run_cell(shared, large))
        other.kill()
    with store.claim("held"):
        mark(f"a claim held for {HELD:.0f} s", lambda: time.sleep(HELD))
    with Journal(folder, "cpu") as journal:
        mark("a sign of life", lambda: journal._write("doing"))  # noqa: SLF001
        tail = Tail(folder)
        mark("a look at one journal", lambda: list(tail))


def main(child: Annotated[Path | None, typer.Option(hidden=True)] = None) -> None:
    """Count and print."""
    if child:
        worked(child)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        trace, run = root / "trace", root / "run"
        surroundings = {**os.environ, "BRITTLE_CACHE": str(root / "cache"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--child", str(run)]
        kinds = ",".join(f"?{name}" for name in KINDS)
        subprocess.run(
            ["strace", "-f", "-y", "-s", "0", "-e", f"trace={kinds}", "-o", trace, *command],
            env=surroundings,
            check=True,
        )
        found = counted(trace.read_text(errors="replace"), [str(run), str(root / "cache")])
        for name, row in {**found, **batches(found)}.items():
            kept = {kind: count for kind, count in sorted(row.items()) if count and "bytes" not in kind}
            moved = ", ".join(f"{row[kind]:,.0f} {kind}" for kind in ("read bytes", "written bytes") if row.get(kind))
            each = ", ".join(f"{count:g} {kind}" for kind, count in kept.items())
            typer.echo(f"{name}: {sum(kept.values()):g} operations ({each})" + (f"; {moved}" if moved else ""))


def batches(found: dict[str, Counter[str]]) -> dict[str, dict[str, float]]:
    """What one more batch takes, by the difference between cells of few and of many."""
    rows: dict[str, dict[str, float]] = {}
    for kind in ("cell", "shared"):
        few, many = found[f"{kind}, few batches"], found[f"{kind}, many batches"]
        rows[f"{kind}, each batch"] = {key: (many[key] - few[key]) / (MANY - FEW) for key in many | few}
    return rows


if __name__ == "__main__":
    typer.run(main)
