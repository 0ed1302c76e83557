"""docs/reports.md: its commands run, on made-up results."""

from collections.abc import Callable
from pathlib import Path

import pytest
from made_results import two_encoders

from brittle.results.store import Store


def test_the_commands_run(run_docs: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for result in two_encoders():
        Store(Path("runs", "demo")).put(result, b"")
        Store(Path("runs", "other")).put(result, b"")
    assert run_docs("reports") == 7
    assert r"\toprule" in Path("table.tex").read_text(encoding="utf8")
    assert len(list(Path("figures").iterdir())) == 4 * 3 + 1
    assert {path.name for path in Path("site").rglob("*.html")} == {"index.html", "demo.html", "other.html"}
