"""The figures of what lies behind a number: the lines are the images', the classes those that lost most, on the
page and as files."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from made_results import number, spreads, two_encoders
from test_html import HOSTILE, read_axis
from test_html import figures as drawn_figures

from brittle.core import components
from brittle.core.records import OfClass, Result, Spread
from brittle.reports import plot
from brittle.reports.parts import answer, distributions, kinds, layout


def page(results: Sequence[Result], spread: distributions.Spreads) -> str:
    return components.component("reports", "html").function(results, lambda _name: (), spread)


def made(results: Sequence[Result], spread: distributions.Spreads) -> tuple[kinds.Figure, kinds.Figure]:
    """The figures of images and of classes."""
    rows, main = layout.layout(results)[1], answer.main_budget(results)
    scores, looks = answer.scores(rows, main), {row.encoder: place for place, row in enumerate(rows)}
    return distributions.images(scores, looks, main, spread), distributions.classes(scores, looks, main, spread)


@pytest.mark.parametrize("count", [1, 3, 4, 100, 257, 5000])
def test_a_line_is_the_share_of_images_that_score_at_most_so_much(count: int) -> None:
    draw = random.Random(count)
    values = [draw.choice((0.0, draw.random())) for _ in range(count)]
    line = distributions.rise("one", number(0.5, "depth"), "images", values)
    assert line is not None
    for value, share in line.points:
        assert share == pytest.approx(sum(each <= value for each in values) / count, abs=0.011)
    if count <= distributions.STEPS:
        assert {value for value, _ in line.points} == set(values)
    assert line.points[-1] == (max(values), 1.0)
    assert list(line.points) == sorted(line.points)
    assert len(line.points) <= distributions.STEPS
    for share, mark in line.quarters:
        assert sum(each <= mark.value for each in values) / count >= share
        assert sum(each < mark.value for each in values) / count < share
    assert distributions.rise("one", number(0.5, "depth"), "images", []) is None


def test_each_attack_within_the_largest_budget_has_its_chart() -> None:
    results = two_encoders()
    images, _ = made(results, spreads(results))
    assert sorted((title, about) for title, about, _ in images.charts) == [
        (task, f"under {attack}") for task in ("depth", "segmentation") for attack in ("embed", "pgd")
    ]
    by_id = {result.id: result for result in results}
    for title, about, chart in images.charts:
        assert isinstance(chart, kinds.Rises)
        assert [(line.name, line.attacked) for line in chart.lines] == [
            (name, attacked) for name in ("one", "two") for attacked in (False, True)
        ]
        for line in chart.lines:
            result = by_id[line.quarters[0][1].id]
            assert (result.cell.encoder, result.cell.task) == (line.name, title)
            assert (result.cell.attack, result.cell.eps) == ((about[6:], 8 / 255) if line.attacked else (None, None))
    ends = {title: chart.ends for title, _, chart in images.charts}
    assert all(chart.ends == ends[title] for title, _, chart in images.charts), "charts of a task have one axis"
    assert set(images.looks) == {"one", "two"}


def test_the_page_shows_the_quartiles() -> None:
    results = two_encoders()
    charts = drawn_figures(page(results, spreads(results)))["images"]
    assert len(charts) == 4
    for chart in charts:
        x_of, y_of = read_axis(chart, upright=False), read_axis(chart, upright=True)
        found = [each for each in chart.iter("path") if each.get("data-number")]
        assert len(found) == 12
        for each, share in zip(found, [0.25, 0.5, 0.75] * 4):
            x, y = map(float, each.get("transform", "")[10:-1].split())
            (result,) = [result for result in results if result.id == each.get("data-number")]
            assert y_of(y) == pytest.approx(share, abs=0.01)
            assert x_of(x) == pytest.approx(answer.value(result) * 2 * share, abs=0.02)
        assert "half of the 40 images at most" in (chart.findtext("desc") or "")


def test_classes_that_lost_most_come_first() -> None:
    results = two_encoders()
    _, classes = made(results, spreads(results))
    pulls = [(title, about, chart) for title, about, chart in classes.charts if isinstance(chart, kinds.Pulls)]
    assert [title for title, _, _ in pulls] == ["classification"] * 2 + ["segmentation"] * 2
    for _, about, chart in pulls:
        assert [row.name for row in chart.rows] == [f"class {place}" for place in range(8)]
        assert about.endswith("; median of 10 classes 0.90 → 0.41")
        clean, attacked = chart.rows[0].clean, chart.rows[0].attacked
        assert clean
        assert attacked
        assert (clean.value, attacked.value) == pytest.approx((0.9, 0.0))
        assert math.isfinite(clean.low) == ("accuracy" in chart.axis)
    (rises,) = [chart for title, _, chart in classes.charts if isinstance(chart, kinds.Rises) and title[0] == "s"]
    assert [len(line.points) for line in rises.lines] == [1, 10, 1, 10]
    few = made(results, spreads(results, 3))[1].charts
    assert {(type(chart), about) for _, about, chart in few} == {(kinds.Pulls, "one"), (kinds.Pulls, "two")}


def test_classes_of_one_name_are_held_apart() -> None:
    results = [number(0.9), number(0.3, attack="pgd")]
    rates = {None: (1.0, 0.5), "pgd": (0.25, 0.5)}

    def spread(result: Result) -> Spread:
        return Spread((), [OfClass(p, "crane", rate, 0.0, 1.0) for p, rate in enumerate(rates[result.cell.attack])])

    ((_, _, chart),) = made(results, spread)[1].charts
    assert isinstance(chart, kinds.Pulls)
    assert [(row.clean and row.clean.value, row.attacked and row.attacked.value) for row in chart.rows] == [
        (1.0, 0.25),
        (0.5, 0.5),
    ]


def test_there_is_no_figure_without_what_it_shows() -> None:
    results = two_encoders()
    assert not set(drawn_figures(page(results, distributions.nothing))) & {"images", "classes"}
    clean = [each for each in results if not each.cell.attack]
    assert not set(drawn_figures(page(clean, spreads(clean)))) & {"images", "classes"}
    unlike = [replace(each, task={**each.task, "unlike": "of two kinds"}) for each in results]
    assert not any(figure.charts for figure in made(unlike, spreads(unlike)))


def test_many_encoders_and_attacks_are_cut_and_that_is_said() -> None:
    results = [number(0.9, "segmentation", encoder=f"e{place}") for place in range(9)]
    for encoder in range(9):
        results += [number(0.1, "segmentation", f"pgd(steps={n})", encoder=f"e{encoder}") for n in range(1, 7)]
    for figure in made(results, spreads(results)):
        assert "Only the first 7 encoders are drawn" in figure.caption
        assert set(figure.looks) == {f"e{place}" for place in range(7)}
    images, classes = made(results, spreads(results))
    assert [type(chart) for _, _, chart in classes.charts] == [kinds.Rises, *[kinds.Pulls] * distributions.LISTED]
    few = made(results, spreads(results, 3))[1]
    assert isinstance(few.charts[0][2], kinds.Rises), "the classes of all encoders, if not one by one"
    assert len(images.charts) == distributions.ATTACKS
    assert f"at most {distributions.ATTACKS} for a task" in images.caption


def test_names_of_classes_are_text() -> None:
    results = two_encoders()
    plain = page(results, spreads(results, name="harmless"))
    for name in HOSTILE:
        text = page(results, spreads(results, name=name))
        assert text.count("<") == plain.count("<"), name[:40]
        assert len(text) < len(plain) + 100_000
        assert not set(text) & {"\x1b", "\x9b", "\u202e", "\ud800"}
        text.encode()


def test_they_are_files_as_well() -> None:
    results = two_encoders()
    figures: dict[str, Any] = dict(plot.figures(results, spreads(results)))
    assert {"images", "classes"} <= figures.keys()
    said = plot.plot(results, spreads(results))
    assert "- images: Image by image. " in said
    assert "- classes: Class by class. " in said
    axes = figures["images"].axes[0]
    steps = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    marks = [line for line in axes.lines if line.get_marker() not in ("None", "")]
    assert (len(steps), len(marks)) == (4, 12)
    assert {line.get_linestyle() for line in steps} == {"-", "--"}
    assert [mark.get_ydata()[0] for mark in marks[:3]] == [0.25, 0.5, 0.75]
    assert list(steps[0].get_ydata())[:3] == [0.0, 1 / 40, 2 / 40]
