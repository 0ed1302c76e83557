"""Strangers' input by the thousand: ``python tests/fuzz/fuzz.py [SURFACE...] [--count N] [--seed S]``.

Each input must be read as what it is or refused in one line: anything else is a failure - another exception, more than
5 seconds of processor, a file that something in the input made, or a number that is not the input's. Exit 1 on any.
"""

import argparse
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "datasets")]
SECONDS, MEMORY = 5, 12 * 2**30  # of processor for one input; of address space, far below what a bomb would take


class HungError(BaseException):
    """An input took too long."""


def _hung(_signal: int, _frame: object) -> None:
    raise HungError


def fuzz(name: str, count: int, seed: int) -> dict[str, object]:
    """Try ``count`` inputs of a surface; how many were read and refused, and every failure."""
    from surfaces import SURFACES, BrittleError, payloads

    seen: Counter[str] = Counter()
    failures: list[str] = []
    slowest = 0.0
    surface = SURFACES[name](Path.cwd())
    signal.signal(signal.SIGVTALRM, _hung)
    for number in range(count):
        draw = random.Random(f"{name} {seed} {number}")
        began = time.process_time()
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        try:
            surface.run(draw)
            seen["read"] += 1
        except BrittleError as error:
            seen["refused"] += 1
            if not 0 < len(str(error)) < 2000:
                failures.append(f"{number}: a line of {len(str(error))} characters")
        except (Exception, HungError) as error:  # noqa: BLE001 - that is what is looked for
            seen["failed"] += 1
            import traceback

            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "brittle" in frame.filename]
            where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
            failures.append(f"{number}: {type(error).__name__} at {where}: {str(error)[:300]}")
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        slowest = max(slowest, time.process_time() - began)
    failures += [f"canary: {path}" for path in payloads()]
    return {"surface": name, "inputs": count, **seen, "slowest": round(slowest, 2), "failures": failures}


def main() -> None:
    """Print a line of JSON for each surface."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("surfaces", nargs="*")
    parser.add_argument("--count", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="print the surfaces")
    chosen = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.environ["HF_HUB_OFFLINE"] = "1"
    warnings.simplefilter("ignore")
    from surfaces import SURFACES

    from brittle.core import progress

    progress.quiet = True
    if chosen.list:
        print(*SURFACES)
        return
    failed = False
    for name in chosen.surfaces or SURFACES:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            os.environ["BRITTLE_CACHE"] = f"{folder}/cache"
            found = fuzz(name, chosen.count, chosen.seed)
            os.chdir("/")
        print(json.dumps(found), flush=True)
        failed |= bool(found["failures"])
    sys.exit(failed)


if __name__ == "__main__":
    main()
