"""docs/robust-tuning.md: the commands on histories run as they stand, on snapshots that only say that they are some."""

import csv
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from brittle.core import components
from brittle.core.files import sha256
from brittle.types import Encoder

PAGE = (Path(__file__).parents[2] / "docs" / "robust-tuning.md").read_text(encoding="utf8")
SECTION = PAGE.partition("## The history of a tuning")[2].partition("\n## ")[0]
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", SECTION, flags=re.DOTALL) for line in block.splitlines()]


def snapshot(argument: str, /) -> Encoder:
    """Raw pixels, with the place in a history that the file's name gives."""
    encoder = components.build("encoders", "pixels(size=8)")
    step = int(Path(argument).stem.rpartition("-")[2])
    encoder.about["history"] = {"method": Path(argument).parent.name, "step": step, "epoch": step / 10}
    return encoder


def fingerprint(argument: str, /) -> str:
    return sha256(argument)


@pytest.mark.usefixtures("quick")
def test_the_commands_run(
    brittle: Callable[..., tuple[int, str, str]],
    replaced: Callable[..., None],
    tiny: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    replaced("encoders", "file", snapshot, fingerprint=fingerprint, validate=None, foreign=None)
    for method in ("deacl", "fare"):
        for step in (10, 20):
            path = Path("runs", method, f"step-{step}.safetensors")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    assert len(COMMANDS) == 4
    for line in COMMANDS:
        words = [tiny if word == "scenes" else word for word in shlex.split(line)[1:]]
        code, _, err = brittle(*words, *(["--limit", "4", "-q", "--device", "cpu"] if words[0] == "run" else []))
        assert code == 0, f"{line}: {err}"
    assert Path("history.svg").is_file()
    assert sorted(path.suffix for path in Path("figures").iterdir()) == [".csv", ".pdf", ".png", ".svg"]
    with Path("history.csv").open(encoding="utf8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["history"], row["step"]) for row in rows if (row["task"], row["attack"]) == ("depth", "depthpgd")] == [
        (method, step) for method in ("deacl", "fare") for step in ("10", "20")
    ]
    assert len(rows) == 2 * 2 * 3 * 2
