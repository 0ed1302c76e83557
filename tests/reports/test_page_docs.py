"""docs/page.md: its commands run, on made-up results."""

from collections.abc import Callable
from pathlib import Path

import pytest
from made_results import pictures, two_encoders
from PIL import Image

from brittle.results.store import Store


def test_the_commands_run(run_docs: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for result in two_encoders():
        store = Store(Path("runs", "demo" if result.cell.encoder == "one" else "other"))
        store.put(result, b"", pictures() if result.cell.attack else ())
    Image.new("RGB", (40, 30), (90, 60, 30)).save("photo.jpg")
    assert run_docs("page") == 5
    assert Path("photo.html").exists()
    assert len(list(Path().glob("photo-*.png"))) == 1
    assert len(list(Path("sheets").glob("*.png"))) == 12
    assert "How brittle is one?" in Path("page.html").read_text(encoding="utf8")
    assert "How brittle are one and two?" in Path("site", "report.html").read_text(encoding="utf8")
