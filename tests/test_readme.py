"""Every command and every line of Python in the README runs, on less data."""

import os
import re
import shlex
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf8")
SMALLER = {  # what is made smaller or needs no network; everything else runs as it stands
    "-d scenes": '-d "scenes(train=96, val=64, test=64)"',
    '["scenes"]': '["scenes(train=96, val=64, test=64)"]',
    "(size=224)": "(size=56, pretrained=false)",
    "--limit 100": "--limit 4",
    "--limit 1024": "--limit 4",
    "--limit 16": "--limit 4",
    "-a autoattack": "-a 'autoattack(steps=3, queries=10)'",
    "steps=40, restarts=5": "steps=4, restarts=2",
}


def smaller(text: str) -> str:
    for full, small in SMALLER.items():
        text = text.replace(full, small)
    return text


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks("bash") for line in block.splitlines()] + re.findall(r"`(brittle [^`]+)`", README)
    found = [shlex.split(smaller(line), comments=True) for line in lines if line.strip()]
    return [shlex.join(words) for words in found if words and words[0] != "make"]


@pytest.fixture(scope="module")
def folder() -> Path:
    """A working folder in which the README's commands run, shared by all processes of the suite."""
    root = Path(os.environ["BRITTLE_TESTS"]) / "readme"
    root.mkdir(exist_ok=True)
    with FileLock(root / "lock"):
        for number in range(40):
            path = root / "images" / ("cats", "dogs")[number % 2] / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                Image.new("RGB", (60, 70), (5 * number, 200 * (number % 2), 90)).save(path)
    return root


@pytest.fixture
def run(
    folder: Path, quick: None, brittle: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """Run one command; what it printed."""
    monkeypatch.chdir(folder)

    def done(command: str) -> str:
        words = shlex.split(command)
        assert Path(words[0]).name == "brittle", "the README names another program; add it here"
        code, out, err = brittle(*words[1:])
        assert code == 0, f"{command}: {err}"
        return out

    return done


def before(command: str) -> list[str]:
    """The commands of the README whose output one reads; they resume what stands."""
    needed = {"runs/demo": "run demo", "runs/deacl": "finetune deacl"}
    return [
        f"{other} --output-dir {place}"  # which a plan with other values would not write to
        for place, word in needed.items()
        if place in command
        for other in commands()
        if f"brittle {word}" in other
    ]


def test_there_are_commands() -> None:
    assert len(commands()) >= 8
    assert {"demo", "test"} <= set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE))


@pytest.mark.parametrize("command", commands())
def test_command(folder: Path, run: Callable[[str], str], command: str) -> None:
    with FileLock(folder / "tuning.lock") if "deacl/" in command or "finetune" in command else nullcontext():
        for other in before(command):
            run(other)
        assert run(command).strip() or "--output-dir" in command


@pytest.mark.usefixtures("quick")
def test_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names = {
        "model": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3)),
        "images": torch.rand(2, 3, 8, 8),
    }
    names["labels"] = torch.tensor([0, 2])
    (block,) = blocks("python")
    exec(compile(smaller(block), "README.md", "exec"), names)  # noqa: S102 - our own README
    assert names["adversarial"].shape == (2, 3, 8, 8)
    assert len(names["results"]) == 3
