"""Figures as files: they show the numbers that were measured, the same ones give the same bytes, and no name breaks
them."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from made_results import number, two_encoders
from PIL import Image

from brittle.core import components
from brittle.core.records import Result
from brittle.reports import plot
from brittle.reports.parts import answer, figures, layout
from brittle.results.store import Store

Brittle = Callable[..., tuple[int, str, str]]
KEYS = ("answer", "eps-linf", "trade-off", "tasks", "transfer-1")


def stored() -> list[Result]:
    """Images made for either encoder, scored on both."""
    shares = {("two", "one"): 0.6, ("one", "one"): 0.1, ("one", "two"): 0.7, ("two", "two"): 0.2}
    made: list[Result] = []
    for (source, on), share in shares.items():
        about = {"attack": "pgd", "task": "classification", "eps": 8 / 255, "norm": "linf", "encoder": source}
        made.append(number(share, attack=f"stored:x/{source}", encoder=on, eps=8 / 255, made_by={"attack": about}))
    return made


RESULTS = [*two_encoders(), *stored()]


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    return dict(plot.figures(RESULTS))


def marks(axes: Any) -> set[tuple[float, float]]:
    """Where there is a marker."""
    return {
        (round(float(x), 6), round(float(y), 6))
        for line in axes.lines
        if line.get_marker() not in ("None", "")
        for x, y in zip(line.get_xdata(), line.get_ydata())
    }


def scores() -> dict[str, list[answer.Score]]:
    rows = layout.layout(RESULTS)[1]
    made: dict[str, list[answer.Score]] = {}
    for score in answer.scores(rows, answer.main_budget(RESULTS)):
        made.setdefault(score.row.task, []).append(score)
    return made


def ends(score: answer.Score) -> tuple[float, float]:
    assert score.clean
    assert score.attacked
    return round(answer.value(score.clean), 6), round(answer.value(score.attacked), 6)


def test_all_that_there_are_data_for_is_drawn(drawn: dict[str, Any]) -> None:
    assert tuple(drawn) == KEYS
    assert list(plot.figures([number(0.9)])) == ["answer"]
    assert list(plot.figures([])) == []


def test_the_answer_is_a_line_from_clean_to_attacked(drawn: dict[str, Any]) -> None:
    for axes, (task, group) in zip(drawn["answer"].axes, scores().items(), strict=True):
        assert axes.get_title(loc="left") == task
        assert marks(axes) == {(x, place) for place, score in enumerate(group) for x in ends(score)}


def test_the_scatter_is_clean_against_attacked(drawn: dict[str, Any]) -> None:
    for axes, group in zip(drawn["trade-off"].axes, scores().values(), strict=True):
        assert marks(axes) == {ends(score) for score in group}
        assert axes.get_xlim() == axes.get_ylim()


def test_a_curve_has_each_budget_and_begins_at_the_clean_score(drawn: dict[str, Any]) -> None:
    for axes, group in zip(drawn["eps-linf"].axes, scores().values(), strict=True):
        places = marks(axes)
        assert {x for x, _ in places} == {0.0, round(4 / 255, 6), round(8 / 255, 6)}
        for score in group:
            clean, attacked = ends(score)
            assert {(0.0, clean), (round(8 / 255, 6), attacked)} <= places
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "4/255", "8/255"]


def test_a_matrix_has_what_was_made_for_itself_on_its_diagonal(drawn: dict[str, Any]) -> None:
    (axes,) = drawn["transfer-1"].axes
    texts = {(text.xy[0], text.xy[1]): text.get_text() for text in axes.texts}
    assert [texts[place, place + 1] for place in (0, 1)] in (["0.10", "0.20"], ["0.20", "0.10"])
    assert {texts[0, 2], texts[1, 1]} == {"0.60", "0.70"}
    assert {texts[place, 0] for place in (0, 1)} == {"0.90"}


def test_the_same_results_give_the_same_bytes(drawn: dict[str, Any]) -> None:
    again = plot.figures(RESULTS)
    for key in ("answer", "transfer-1"):
        for ending in figures.ENDINGS:
            assert figures.rendered(drawn[key], ending) == figures.rendered(again[key], ending), key + ending


def test_the_command_writes_each_figure_thrice_and_its_caption(tmp_path: Path, brittle: Brittle) -> None:
    for result in two_encoders()[:12]:
        Store(tmp_path / "run").put(result, b"")
    code, _, err = brittle("report", tmp_path / "run", "--format", "plot", "--output-dir", tmp_path / "out")
    assert code == 0, err
    names = ("answer", "eps-linf", "tasks")
    wanted = {f"{name}{ending}" for name in names for ending in figures.ENDINGS} | {"plot.md"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == wanted
    said = (tmp_path / "out" / "plot.md").read_text(encoding="utf8")
    assert all(f"- {name}: " in said for name in names)
    assert "the strongest attack within linf 8/255" in said
    for name in names:
        ElementTree.parse(tmp_path / "out" / f"{name}.svg")
        assert (tmp_path / "out" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        image = Image.open(tmp_path / "out" / f"{name}.png")
        assert len(set(image.convert("L").resize((64, 64)).tobytes())) > 8
    code, _, err = brittle("report", tmp_path / "run", "--format", "plot", "--output", tmp_path / "one.svg")
    assert (code, "3 figures (answer, eps-linf, tasks); give --output-dir" in err) == (2, True)


def test_names_are_text_and_keep_the_figure_small(tmp_path: Path) -> None:
    names = ("$x^2$", "x" * 10_000, "_hidden", "<b>&\n", "a\u202egnitrats", "\x1b[31mred\ud800")
    results = [number(0.9, encoder=name, dataset=name) for name in names]
    results += [number(0.3, attack="pgd", encoder=name, dataset=name) for name in names]
    for figure in plot.figures(results).values():
        image = Image.open(io.BytesIO(figures.rendered(figure, ".png")))
        assert max(image.size) < 4000
        ElementTree.fromstring(figures.rendered(figure, ".svg"))


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, brittle: Brittle, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path / "run").put(number(0.9), b"")
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    code, _, err = brittle("report", tmp_path / "run", "--format", "plot", "--output-dir", tmp_path / "out")
    assert (code, "pip install -c constraints.txt '.[plot]'" in err) == (2, True)
    assert components.component("reports", "plot").function([number(0.9)])
