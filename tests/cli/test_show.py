"""``brittle show``: the gallery of a run as sheets."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from brittle.results.store import Store, read_run

Command = Callable[..., tuple[int, str, str]]


@pytest.mark.usefixtures("quick")
def test_a_run_is_drawn_as_a_sheet_for_each_attacked_number(
    brittle: Command, tmp_path: Path, tiny: str, encoder: str
) -> None:
    run, out = str(tmp_path / "run"), tmp_path / "sheets"
    options = ("-a", "pgd(steps=1)", "--limit", "8", "--checks", "none", "--output-dir", run)
    assert brittle("run", "-e", encoder, "-d", tiny, *options)[0] == 0
    attacked = [result for result in read_run(run) if result.cell.attack]
    pictures = {result.id: Store(Path(run)).pictures(result.id) for result in read_run(run)}
    assert {name for name, drawn in pictures.items() if drawn} == {result.id for result in attacked}
    assert len(attacked) == 3
    assert '<section id="gallery">' in Path(run, "report", "report.html").read_text(encoding="utf8")
    code, _, err = brittle("show", run, "--output-dir", str(out))
    assert code == 0
    paths = sorted(out.iterdir())
    assert len(paths) == 3
    assert all(str(path) in err for path in paths)
    for path in paths:
        assert Image.open(path).width > 600
    assert brittle("show", run)[0] == 0
    assert len(list(Path(run, "report", "gallery").iterdir())) == 3
    (tmp_path / "run" / "gallery" / f"{attacked[0].id}.json").write_bytes(b"?")
    code, _, err = brittle("show", run)
    assert code == 0
    assert "its pictures are left out" in err
    for path in (tmp_path / "run" / "gallery").iterdir():
        path.unlink()
    code, _, err = brittle("show", run)
    assert (code, err) == (4, f"brittle: no pictures in {run}; measure its attacks again, into another folder\n")
