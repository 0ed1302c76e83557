"""The plan of the paper's 28 rows, and the table that puts ours beside them."""

from collections.abc import Callable
from dataclasses import replace

from brittle import plan, spec
from brittle.plan import Result


def test_a_dry_run_lists_every_row_and_what_it_lacks(brittle: Callable[..., tuple[int, str, str]], tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = brittle("run", "paper", "--dry-run", "--data-root", "pictures", "--weights-root", "checkpoints")
    rows = [line for line in out.splitlines() if line.startswith("lacks")]
    assert code == 0
    assert len(rows) == 28
    assert all("pictures/" in row and "checkpoints/" in row for row in rows)
    assert all("get it from" in row for row in rows)


def test_a_real_run_without_anything_says_what_is_missing(brittle: Callable[..., tuple[int, str, str]], tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = brittle("run", "paper")
    assert code == 4
    assert "Traceback" not in err


def test_ours_stands_beside_the_papers(result_of: Callable[..., Result]) -> None:
    some = result_of("1" * 20, 0.5)
    name = "file:w/dinov2_vits14_pretrain.pth"
    cell = replace(some.cell, encoder=name, dataset="cifar10:d", task="classification", attack=None, eps=None, norm=None)
    task = {**some.task, "name": "classification", "headline": "accuracy", "attack": "pgd", "higher_is_better": True}
    clean = replace(some, cell=cell, task=task, metrics={"accuracy": 0.95}, intervals={"accuracy": (0.93, 0.96)})
    pgd = replace(cell, attack="pgd", eps=8 / 255, norm="linf")
    attacked = replace(clean, id="2" * 20, cell=pgd, metrics={"accuracy": 0.2}, intervals={"accuracy": (0.1, 0.3)})
    lines = spec.component("reports", "paper")([clean, attacked]).splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| task") and "---" not in line]
    assert len(rows) == 28
    (mine,) = [row for row in rows if "+0.010" in row]
    assert "vit_small_patch14_dinov2" in mine
    assert "| 0.94 | 0.950 [0.930, 0.960]" in mine
    assert mine.count("yes") == 1
    assert mine.count("| no") == 1


def test_every_row_of_the_paper_is_a_pair_of_the_plan() -> None:
    made = plan.read("paper")
    assert len(made.encoders) * len(made.datasets) == 28
