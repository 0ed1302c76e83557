"""docs/reports.md: its commands run, on made-up results."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from made_results import two_encoders

from brittle.results.store import Store

PAGE = (Path(__file__).parents[2] / "docs" / "reports.md").read_text(encoding="utf8")
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL) for line in block.splitlines()]


def test_the_commands_run(
    brittle: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for result in two_encoders():
        Store(Path("runs", "demo")).put(result, b"")
        Store(Path("runs", "other")).put(result, b"")
    for line in COMMANDS:
        code, _, err = brittle(*shlex.split(line)[1:])
        assert code == 0, f"{line}: {err}"
    assert r"\toprule" in Path("table.tex").read_text(encoding="utf8")
    assert len(list(Path("figures").iterdir())) == 4 * 3 + 1
    assert {path.name for path in Path("site").rglob("*.html")} == {"index.html", "demo.html", "other.html"}
