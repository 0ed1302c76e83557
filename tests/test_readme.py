"""Every command and every line of Python in the README runs, on less data."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which the README's commands run one after the other."""
    root = tmp_path_factory.mktemp("readme")
    for number in range(40):
        path = root / "images" / ("cats", "dogs")[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 70), (5 * number, 200 * (number % 2), 90)).save(path)
    return root


def test_there_are_commands() -> None:
    assert len(commands()) >= 8
    assert {"demo", "test"} <= set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE))


@pytest.mark.timeout(900)
def test_commands(folder: Path) -> None:
    """One after the other, those that read what another writes last."""
    for command in sorted(commands(), key=lambda text: "report" in text or "compare" in text or "file:" in text):
        words = shlex.split(command)
        assert Path(words[0]).name == "brittle", "the README names another program; add it here"
        done = subprocess.run(
            [sys.executable, "-m", "brittle", *words[1:]], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert done.stdout.strip() or "--output-dir" in command, command


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
