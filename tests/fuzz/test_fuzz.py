"""Strangers' input, some of it in each run of the tests: read as what it is or refused in one line, whatever it is.

The whole of it: ``python tests/fuzz/fuzz.py --count 800``.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

KEPT = ("results", "caches")  # what is damaged there is made again, not refused
FUZZ = Path(__file__).parent / "fuzz.py"
COUNTS = {
    "specs": 600,
    "plans": 400,
    "images": 600,
    "masks": 400,
    "depth": 400,
    "results": 300,
    "caches": 150,
    "checkpoints": 150,
    "cards": 40,
    "parquet": 200,
    "mat": 80,
    "pickles": 200,
    "binaries": 200,
    "lists": 200,
}


@pytest.mark.parametrize("name", COUNTS)
def test_it_is_read_as_what_it_is_or_refused_in_one_line(name: str) -> None:
    command = [sys.executable, str(FUZZ), name, "--count", str(COUNTS[name])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, f"ended with {done.returncode}: {done.stderr[-2000:]}"
    found = json.loads(done.stdout)
    assert found["failures"] == []
    assert found["inputs"] == COUNTS[name]
    assert found["read"] > 0
    assert found.get("refused", 0) > 0 or name in KEPT


def test_every_surface_is_tried() -> None:
    listed = subprocess.run([sys.executable, str(FUZZ), "--list"], capture_output=True, text=True, check=True)
    assert set(listed.stdout.split()) == set(COUNTS)
