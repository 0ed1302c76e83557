"""docs/attacks.md names every attack and objective, and its commands run."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from brittle.core import components

TEXT = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text(encoding="utf8")
SMALLER = {
    "embedded:dino": "embedded:random",
    "embedded:deacl": "pixels(size=8)",
    "scenes": "scenes(train=64, val=32, test=32, size=8)",
    "--limit 16": "--limit 4",
    "-a autoattack": '-a "autoattack(steps=3, queries=10)"',
    "-a sea": '-a "sea(steps=6)"',
    "(steps=20, pictures=64)": "(steps=3, pictures=8)",
    "(attack=segpgd)": "(attack='segpgd(steps=3)')",
    "-a depth_worst": '-a "depth_worst(steps=3)"',
}


@pytest.mark.parametrize("kind", ["attacks", "objectives", "checks"])
def test_every_component_is_named(kind) -> None:
    words = set(re.findall(r"[a-z_0-9]+", TEXT))
    assert {name for name in components.names(kind) if name not in words} == set()


BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("block", BLOCKS)
def test_its_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brittle: Callable[..., tuple[int, str, str]], block: str
) -> None:
    """Block by block: within one, a command may read what another writes."""
    monkeypatch.chdir(tmp_path)
    lines = [line for line in block.splitlines() if line.strip()]
    assert lines
    for line in lines:
        if line == "brittle verify":
            continue  # tests/test_verify.py
        several = {"embedded:deacl": "pixels(size=64)"} if "embedded:dino" in block else {}  # of one size
        for full, small in {**SMALLER, **several}.items():
            line = line.replace(full, f'"{small}"' if "(" in small and small[0] not in "-(" else small)
        code, _, err = brittle(*shlex.split(line)[1:])
        assert code == 0, f"{line}: {err}"


def test_there_are_commands() -> None:
    assert sum(len(block.splitlines()) for block in BLOCKS) >= 12
