"""Results in Python: a list, a table in a notebook, a data frame."""

import csv
import io
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

import brittle
from brittle.core.errors import MissingError
from brittle.reports.csv import csv as as_csv
from brittle.reports.plot import figures
from brittle.results.listed import Results
from brittle.results.per_image import spreads


def test_names_are_those_for_users() -> None:
    assert dir(brittle) == sorted([*brittle.__all__, "__version__"])
    assert all(hasattr(brittle, name) for name in dir(brittle))


@pytest.mark.usefixtures("quick")
def test_a_run_is_a_list_that_shows_itself(tmp_path: Path, tiny: str, encoder: str) -> None:
    found = brittle.run(
        [encoder], [tiny], tasks=["classification"], attacks=["noise"], limit=8, output_dir=tmp_path, checks="none"
    )
    assert isinstance(found, list)
    assert repr(found) == "<2 results of pixels(size=8)>"
    assert "\n" not in repr(found[0])
    assert f"accuracy {found[0].metrics['accuracy']}" in repr(found[0])
    again = brittle.read_run(tmp_path)
    assert {result.id for result in again} == {result.id for result in found}
    page = found._repr_html_()
    assert page.count("<tr>") == 2
    assert f"<td>{found[0].metrics['accuracy']:.3f} [" in page
    bad = replace(found[0], failed="<b>no</b>", cell=replace(found[0].cell, encoder="<img onerror=x>"))
    hostile = Results([bad])
    assert "1 failed" in repr(hostile)
    assert "<img" not in hostile._repr_html_()
    assert "&lt;b&gt;no" in hostile._repr_html_()


@pytest.mark.usefixtures("quick")
def test_a_frame_has_the_rows_of_the_csv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: str) -> None:
    found = brittle.run(["pixels(size=8)"], [tiny], tasks=["classification"], attacks=[], limit=8, output_dir=tmp_path)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingError, match="^to_frame needs pandas, which is not installed; pip install pandas$"):
        found.to_frame()
    fake = types.ModuleType("pandas")
    fake.read_csv = lambda stream, dtype: list(csv.DictReader(stream))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", fake)
    (row,) = found.to_frame()
    assert float(row["accuracy"]) == found[0].metrics["accuracy"]
    assert [row] == list(csv.DictReader(io.StringIO(as_csv(found))))


@pytest.mark.usefixtures("quick")
def test_a_plot_is_the_figures_of_the_page(tmp_path: Path, tiny: str, encoder: str) -> None:
    found = brittle.run(
        [encoder], [tiny], tasks=["classification"], attacks=["noise"], limit=8, output_dir=tmp_path, checks="none"
    )
    made = found.plot()
    assert list(made) == list(figures(found, spreads([tmp_path]))) == ["answer", "classes"]
    assert "answer" in made
    shown = " ".join(text.get_text() for axes in made["answer"].axes for text in axes.texts)
    attacked = next(result for result in found if result.cell.attack)
    assert f"→ {attacked.metrics['accuracy']:.2f}" in shown
    made["answer"].savefig(tmp_path / "answer.png")
    assert (tmp_path / "answer.png").read_bytes().startswith(b"\x89PNG")
    assert Results([]).plot() == {}
