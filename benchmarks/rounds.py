"""What the benchmarks share: several ways to do one thing timed in turn, round by round, so that their ratios hold when
the machine's speed drifts; the table of those ratios; and the same as JSON.

    OMP_NUM_THREADS=1 python benchmarks/attack.py --json attack.json    # any of those that print ratios

With one thread on the CPU, seconds are those of the CPU, so that ratios hold on a machine that others use as well.
"""

import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch

ROUNDS = 5
Row = Mapping[str, Any]
Found = TypeVar("Found")


class Spread(NamedTuple):
    """Median, lowest and highest of several rounds."""

    median: float
    low: float
    high: float


class Timed(NamedTuple, Generic[Found]):
    """Of each way: seconds of every round, and what it gave in the last one."""

    seconds: Mapping[str, Sequence[float]]
    found: Mapping[str, Found]


def by_cpu() -> bool:
    """Whether CPU seconds are counted, in which there is nothing that others take of the machine: where all is computed
    by one thread of the CPU. Elsewhere seconds are by the clock."""
    return torch.get_num_threads() == 1 and not torch.cuda.is_available()


def clock() -> float:
    """Seconds of this process and of those that it has started and that have ended, or by the clock, once a GPU is done
    with what it was given; see ``by_cpu``."""
    if by_cpu():
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in used)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def in_turn(
    work: Mapping[str, Callable[[], Found]],
    rounds: int,
    *,
    before: Callable[[str], object] = lambda _: None,
) -> Timed[Found]:
    """Time all ways in each round, one after the other (A B C A B C ...).

    Args:
        before: what makes ready for the way of a name, outside the time.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    found: dict[str, Found] = {}
    for _ in range(rounds):
        for name, run in work.items():
            before(name)
            began = clock()
            found[name] = run()
            seconds[name].append(clock() - began)
    return Timed(seconds, found)


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def ratio(seconds: Mapping[str, Sequence[float]], name: str, over: str) -> Spread:
    """One way's seconds over another's, which are divided round by round."""
    return spread([value / least for value, least in zip(seconds[name], seconds[over])])


def rows_of(
    seconds: Mapping[str, Sequence[float]], *bases: str, **more: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """A row for each way: ``seconds`` of each round, ``over`` each base the ratio's median, low and high.

    Args:
        bases: the ways that others are set beside, such as the floor.
        more: further columns, each from the name of a way to its value.
    """
    return {
        name: {
            "seconds": list(values),
            "over": {base: ratio(seconds, name, base)._asdict() for base in bases},
            **{column: given[name] for column, given in more.items() if name in given},
        }
        for name, values in seconds.items()
    }


def show(rows: Mapping[str, Row], *, title: str = "", note: Callable[[Row], str] = lambda _: "") -> None:
    """Print a table: the median seconds of each way and its ratios, as median [low, high].

    Args:
        note: what a row says besides.
    """
    width = max(len(name) for name in [*rows, title])
    bases = list(next(iter(rows.values()))["over"])
    head = "".join(f"  {f'over {base}':>22}" for base in bases)
    print(f"{title:{width}}  {'seconds':>9}{head}")
    for name, row in rows.items():
        parts = [Spread(**row["over"][base]) for base in bases]
        ratios = "".join(f"  {f'{part.median:.2f} [{part.low:.2f}, {part.high:.2f}]':>22}" for part in parts)
        print(f"{name:{width}}  {statistics.median(row['seconds']):9.3f}{ratios}  {note(row)}".rstrip())


def processor() -> str:
    """The processor's name where the system says it, else its kind."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def facts() -> dict[str, Any]:
    """What was measured on, and when."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        "processor": processor(),
        **({"gpu": gpu} if gpu else {}),
        "seconds": "CPU" if by_cpu() else "clock",
        "date": date.today().isoformat(),
    }


def tell(path: Path | None, **what: Any) -> dict[str, Any]:
    """Print and give what was measured on, and write all that was found as JSON to ``path``, unless that is None."""
    known = facts()
    print(", ".join(f"{name} {value}" for name, value in known.items()))
    if path is not None:
        path.write_text(json.dumps({"facts": known, **what}, indent=1, allow_nan=False) + "\n", encoding="utf8")
    return known
