"""Two processes that share each batch do what one does with the whole."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

DATA = "scenes(train=12, val=8, test=8, size=32)"
CODE = """
import sys, brittle
from brittle.tuning.parts import training
real = training._Step.__call__
def step(self, batch, rate, done):
    with open(f"{sys.argv[2]}/seen-{self.fabric.global_rank}", "a") as file:
        file.write(" ".join(batch.ids) + "\\n")
    return real(self, batch, rate, done)
training._Step.__call__ = step
brittle.finetune(sys.argv[1], "embedded:random", sys.argv[3], output_dir=sys.argv[2], limit=8)
"""


def _run(folder: Path, devices: int) -> tuple[list[float], dict[str, torch.Tensor], list[list[list[str]]]]:
    folder.mkdir()
    inner = "pgd(objective=embedding(tokens=cls, distance=cosine), steps=1, step=1, keep=last)"
    method = f"deacl(steps=4, batch=4, lr=1e-3, augment=crop, ema=0.5, devices={devices}, attack='{inner}')"
    script = folder / "tune.py"
    script.write_text(CODE)
    command = [sys.executable, str(script), method, str(folder), DATA]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    losses = [float(row["loss"]) for row in csv.DictReader((folder / "log.csv").open()) if row["loss"]]
    seen = [[line.split() for line in path.read_text().splitlines()] for path in sorted(folder.glob("seen-*"))]
    return losses, load_file(folder / "encoder.safetensors"), seen


def test_two_processes_on_half_batches_are_one_on_the_whole(tmp_path: Path) -> None:
    losses, weights, (whole,) = _run(tmp_path / "one", 1)
    shared, halved, (left, right) = _run(tmp_path / "two", 2)
    assert len(losses) == len(shared) == 4
    for step, names in enumerate(whole):
        assert len(left[step]) == len(right[step]) == 2
        assert not set(left[step]) & set(right[step])
        assert sorted(names) == sorted(left[step] + right[step])
    assert shared == pytest.approx(losses, rel=1e-4)
    for key, value in weights.items():
        torch.testing.assert_close(halved[key], value, rtol=1e-3, atol=2e-4)
