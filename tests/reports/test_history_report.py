"""The history of a tuning: every number as it was measured, in the order of steps, as CSV and as a figure."""

import csv
import io
import random
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from PIL import Image

from brittle.core import components
from brittle.core.errors import UsageError
from brittle.core.records import Finding, Result
from brittle.reports.parts import figures, histories
from brittle.results.store import Store

Make = Callable[..., list[Result]]
TASKS = {
    "classification": ("accuracy", True, "pgd"),
    "segmentation": ("miou", True, "segpgd"),
    "depth": ("rmse", False, "depthpgd"),
}


def report(results: Sequence[Result]) -> list[dict[str, str]]:
    """The rows of the CSV."""
    return list(csv.DictReader(io.StringIO(components.component("reports", "history").function(results))))


@pytest.fixture
def kept(result_of: Callable[..., Result]) -> Make:
    """Made-up results of the snapshots of one tuning: clean, and under the task's own attack at each of ``eps``."""

    def make(
        method: str = "deacl",
        steps: Sequence[int] = (10, 20, 40),
        *,
        folder: str = "runs/deacl",
        tasks: Sequence[str] = ("classification",),
        eps: Sequence[float] = (8 / 255,),
        names: str = "step-{}.safetensors",
        epoch: Callable[[int], float | None] = lambda step: step / 10,
        settings: str = "",
        **changes: object,
    ) -> list[Result]:
        made: list[Result] = []
        draw = random.Random(ascii((method, folder, settings, changes)))
        for step in steps:
            history = {"method": method, "step": step, "epoch": epoch(step)}
            for task in tasks:
                headline, higher, own = TASKS[task]
                for budget in (None, *eps):
                    value, name = draw.random(), f"{draw.getrandbits(80):020x}"
                    result = result_of(
                        name,
                        attack=own if budget else None,
                        encoder=f"file:{folder}/{names.format(step)}{settings}",
                        metrics={headline: value},
                        intervals={headline: (value - draw.random() / 9, value + draw.random() / 9)},
                        metrics_uint8={headline: draw.random()},
                        made_by={"weights": {"history": history}, "weights_sha256": f"{method}{step}"},
                        **({"eps": budget} if budget else {}),
                        **changes,
                    )
                    facts = {
                        "name": task,
                        "headline": headline,
                        "higher_is_better": higher,
                        "attack": own,
                        "unlike": "",
                    }
                    made.append(replace(result, cell=replace(result.cell, task=task), task=facts))
        return made

    return make


# --- the numbers ------------------------------------------------------------------------------------------------------


def test_every_number_is_that_of_the_result_to_the_digit(kept: Make) -> None:
    results = kept(tasks=tuple(TASKS), eps=(2 / 255, 8 / 255))
    rows = report(results)
    assert len(rows) == len(results) == 3 * 3 * 3
    for result in results:
        cell, metric = result.cell, result.task["headline"]
        (row,) = (
            row
            for row in rows
            if (row["encoder"], row["task"], row["eps"]) == (cell.encoder, cell.task, str(cell.eps or ""))
        )
        assert row["metric"] == metric
        assert float(row["value"]) == result.metrics[metric]
        assert (float(row["low"]), float(row["high"])) == result.intervals[metric]
        assert float(row["uint8"]) == result.metrics_uint8[metric]
        assert row["attack"] == (cell.attack or "")
        assert row["better"] == ("lower" if cell.task == "depth" else "higher")
        assert (row["history"], row["method"], row["dataset"]) == ("deacl", "deacl", cell.dataset)
        assert row["weights_sha256"] == f"deacl{row['step']}"
        assert float(row["epoch"]) == int(row["step"]) / 10


def test_an_attack_has_columns_of_its_own(kept: Make) -> None:
    warm = "warm(eps=[0.01], attack=pgd(steps=3))"
    results = [replace(each, cell=replace(each.cell, attack=each.cell.attack and warm)) for each in kept()]
    told = {(row["attack"], row["settings"], row["warm"], row["norm"]) for row in report(results)}
    assert told == {("", "", "", ""), ("pgd", "steps=3", "0.01", "linf")}


def test_the_order_is_that_of_steps_whatever_files_are_called(kept: Make) -> None:
    names = {5: "z", 40: "latest", 300: "10", 2000: "2"}
    results = [each for step, name in names.items() for each in kept(steps=[step], names=name)]
    for seed in range(5):
        random.Random(seed).shuffle(results)
        rows = report(results)
        for kind in ("", "pgd"):
            assert [int(row["step"]) for row in rows if row["attack"] == kind] == list(names)


def test_two_methods_side_by_side(kept: Make) -> None:
    rows = report([*kept("fare", folder="runs/fare"), *kept("deacl")])
    assert [row["history"] for row in rows] == ["fare"] * 6 + ["deacl"] * 6
    axes = histories.figure([*kept("fare", folder="runs/fare"), *kept("deacl")]).axes[0]
    assert len({line.get_color() for line in axes.lines}) == 2
    assert sorted(line.get_linestyle() for line in axes.lines) == ["-", "-", "--", "--"]


@pytest.mark.parametrize(
    ("two", "names"),
    [
        (({"method": "deacl"}, {"method": "deacl(gamma=1.0)"}), ["deacl", "deacl(gamma=1.0)"]),
        (
            ({"method": "deacl(lr=0.1, gamma=2.0)"}, {"method": "deacl(lr=0.1, gamma=1.0)"}),
            ["deacl(gamma=2.0)", "deacl(gamma=1.0)"],
        ),
        (({"folder": "runs/a"}, {"folder": "runs/b"}), ["deacl (runs/a)", "deacl (runs/b)"]),
        (({"settings": ""}, {"settings": "(size=96)"}), ["deacl (file)", "deacl (file(size=96))"]),
        (({"method": "what is (this"}, {"method": "("}), ["what is (this", "("]),
        (({"steps": [10, 20]}, {"steps": [30, 40]}), ["deacl"]),
    ],
)
def test_tunings_are_called_by_what_tells_them_apart(kept: Make, two: tuple[dict, dict], names: list[str]) -> None:
    rows = report([*kept(**two[0]), *kept(**two[1])])
    assert list(dict.fromkeys(row["history"] for row in rows)) == names
    assert [row["method"] for row in rows if row["history"] == names[0]][0] == two[0].get("method", "deacl")


def test_seeds_are_one_number(kept: Make) -> None:
    first, second = kept(seed=0), kept(seed=1)
    rows = report([*first, *second])
    assert len(rows) == len(first)
    assert {row["seeds"] for row in rows} == {"0,1"}
    values = [each[2].metrics["accuracy"] for each in (first, second)]
    assert float(rows[1]["value"]) == pytest.approx(sum(values) / 2, abs=1e-12)
    assert float(rows[1]["spread"]) == pytest.approx(abs(values[0] - values[1]) / 2**0.5, abs=1e-12)
    assert "means over seeds 0, 1" in said(histories.figure([*first, *second]))


def test_a_failed_cell_has_the_place_of_its_snapshot(kept: Make, capsys: pytest.CaptureFixture[str]) -> None:
    results = kept(steps=(10, 20, 40, 80))
    results[3] = replace(results[3], metrics={}, intervals={}, metrics_uint8={}, made_by={}, failed="out of memory")
    lost = replace(results[0], id="f" * 20, made_by={}, failed="gone")
    lost = replace(lost, cell=replace(lost.cell, encoder="file:runs/deacl/step-99.safetensors"))
    rows = report([*results, lost])
    assert [(row["step"], row["failed"]) for row in rows if row["failed"]] == [("20", "out of memory")]
    assert "left out, as no step of a tuning is known of them: file:runs/deacl/step-99" in capsys.readouterr().err
    figure = histories.figure(results)
    (attacked,) = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [value == value for value in attacked.get_ydata()] == [True, False, True, True]
    assert "1 cells failed and are not drawn" in said(figure)


def test_an_encoder_that_is_no_snapshot_is_left_out_and_said(
    kept: Make, result_of: Callable[..., Result], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = report([*kept(), result_of(encoder="embedded:dino", value=0.987)])
    assert capsys.readouterr().err == "left out, as no step of a tuning is known of them: embedded:dino\n"
    assert "embedded:dino" not in {row["encoder"] for row in rows}
    report(kept())
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "history",
    [
        {},
        None,
        "deacl",
        {"method": "deacl"},
        {"method": 3, "step": 1},
        {"method": "deacl", "step": "1"},
        {"method": "deacl", "step": 1.5},
        {"method": "deacl", "step": -1},
        {"method": "deacl", "step": 10**400},
    ],
)
def test_what_is_no_history_is_refused_in_one_line(kept: Make, history: object) -> None:
    results = [replace(each, made_by={"weights": {"history": history}}) for each in kept()]
    for make in (report, histories.figure):
        with pytest.raises(UsageError, match=r"^no result here is of a snapshot of a tuning; brittle finetune METHOD"):
            make(results)


def test_one_snapshot_is_no_history(kept: Make) -> None:
    with pytest.raises(UsageError, match="needs two snapshots .* here is one only: deacl at step 10; brittle finetune"):
        report(kept(steps=[10], tasks=tuple(TASKS)))
    with pytest.raises(UsageError, match="deacl at step 10, fare at step 7"):
        report([*kept(steps=[10]), *kept("fare", [7])])
    assert len(report([*kept(steps=[10, 20]), *kept("fare", [7])])) == 6


STRANGE = (
    "=cmd|' /C calc'!A0",
    "_hidden",
    "$\\frac{1}{0}$",
    "<b>&amp;\"'</svg>",
    "\x1b[31m red \u202e \uffff \ud800",
    "日本 🎈",
    "",
    "x" * 10_000,
)


@pytest.mark.parametrize("name", STRANGE)
def test_strange_names_break_nothing(kept: Make, name: str, recwarn: pytest.WarningsRecorder) -> None:
    results = [replace(each, cell=replace(each.cell, dataset=name)) for each in kept(name)]
    rows = report(results)
    assert len(rows) == 6
    assert all(text[:1] not in ("=", "\x1b") for row in rows for text in (row["history"], row["dataset"]))
    figure = histories.figure(results)
    root = ElementTree.fromstring(figures.rendered(figure, ".svg"))
    shown = texts(root)
    assert shown[-2:] == ["clean", "attacked"], "the legend is drawn last"
    if len(name) < 20 and name.isprintable():
        assert shown[-3] == name
    assert "\x1b" not in "".join(shown)
    assert figures.rendered(figure, ".png") == figures.rendered(figure, ".png")
    assert [str(each.message) for each in recwarn] == []


# --- the figure -------------------------------------------------------------------------------------------------------


def texts(root: ElementTree.Element) -> list[str]:
    return [(each.text or "").strip() for each in root.iter("{http://www.w3.org/2000/svg}text")]


def said(figure: object) -> str:
    """The caption below."""
    return " ".join(figure._supxlabel.get_text().split())  # type: ignore[attr-defined]


def test_what_is_drawn_is_what_was_measured(kept: Make) -> None:
    results = kept(tasks=tuple(TASKS))
    figure = histories.figure(results)
    assert [axes.get_title("left") for axes in figure.axes] == list(TASKS)
    for axes, (task, (headline, _, _)) in zip(figure.axes, TASKS.items()):
        for line, band, attacked in zip(axes.lines, axes.collections, (False, True)):
            mine = [each for each in results if (each.cell.task, bool(each.cell.attack)) == (task, attacked)]
            assert list(line.get_xdata()) == [1, 2, 4]
            assert list(line.get_ydata()) == [each.metrics[headline] for each in mine]
            ends = {(x, y) for (x, y) in band.get_paths()[0].vertices.tolist()}
            wanted = [(x, end) for x, each in zip((1, 2, 4), mine) for end in each.intervals[headline]]
            assert ends.issuperset(wanted)
            assert (line.get_linestyle() == "--") == attacked
            assert (line.get_markerfacecolor() == "white") == attacked


def test_the_svg_is_xml_and_its_text_is_text(kept: Make) -> None:
    results = [*kept(tasks=tuple(TASKS)), *kept("fare", folder="runs/fare", tasks=tuple(TASKS))]
    shown = texts(ElementTree.fromstring(figures.rendered(histories.figure(results), ".svg")))
    for text in (*TASKS, "deacl", "fare", "clean", "attacked", "epoch", "accuracy (higher is better)"):
        assert text in shown
    assert "rmse (lower is better)" in shown
    assert any("segpgd 8/255 linf" in text for text in shown)
    assert "16 test images; bands are 95 % intervals over images" in shown


@pytest.mark.parametrize(
    ("pairs", "budgets", "size"), [(1, 1, (945, 660)), (3, 1, (1890, 660)), (3, 2, (1890, 1180)), (1, 3, (1890, 660))]
)
def test_a_png_is_as_large_as_it_is_read(kept: Make, pairs: int, budgets: int, size: tuple[int, int]) -> None:
    results = kept(tasks=list(TASKS)[:pairs], eps=[2**n / 255 for n in range(1, budgets + 1)])
    image = Image.open(io.BytesIO(figures.rendered(histories.figure(results), ".png")))
    assert image.size == size
    assert image.getpixel((0, 0))[:3] == (255, 255, 255)


def test_the_same_results_are_the_same_bytes(kept: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Today and tomorrow, and whatever style the user's own figures have."""
    results = kept(tasks=("segmentation", "depth"))
    first = {ending: figures.rendered(histories.figure(results), ending) for ending in figures.ENDINGS}
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30)
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "black")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    for ending, content in first.items():
        assert figures.rendered(histories.figure(results), ending) == content
    assert not re.search(rb"\b20\d\d-\d\d-\d\d\b", first[".svg"])
    assert first[".pdf"].startswith(b"%PDF")
    assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize(
    ("epoch", "label", "places"),
    [(lambda step: step / 10, "epoch", [1, 2, 4]), (lambda step: step / 100, "step", [10, 20, 40]),
     (lambda _step: None, "step", [10, 20, 40])],
)  # fmt: skip
def test_over_epochs_where_there_is_a_whole_one(kept: Make, epoch: object, label: str, places: list[int]) -> None:
    (axes,) = histories.figure(kept(epoch=epoch)).axes
    assert axes.get_xlabel() == label
    assert list(axes.lines[0].get_xdata()) == places


def test_budgets_are_rows_and_share_an_axis_that_holds_all_of_them(kept: Make) -> None:
    results = kept(tasks=("segmentation", "depth"), eps=(8 / 255, 2 / 255))
    worse = [replace(each, metrics={"rmse": 7.0}) if each.cell.eps == 8 / 255 else each for each in results[3:]]
    figure = histories.figure([*results[:3], *worse])
    about = [axes.texts[0].get_text().split()[-2] for axes in figure.axes]
    assert about == ["2/255", "2/255", "8/255", "8/255"]
    assert [axes.get_ylabel()[:4] for axes in figure.axes] == ["miou", "rmse"] * 2
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "epoch", "epoch"]
    assert figure.axes[1].get_ylim() == figure.axes[3].get_ylim()
    assert figure.axes[1].get_ylim()[0] == 0
    assert figure.axes[1].get_ylim()[1] > 7


def test_scores_below_zero_are_drawn_whole(kept: Make) -> None:
    results = [replace(each, metrics={"accuracy": -0.5}) if each.cell.attack else each for each in kept()]
    (axes,) = histories.figure(results).axes
    assert axes.get_ylim()[0] < -0.5


def test_attacks_of_the_tasks_own_stand_in_one_row(kept: Make) -> None:
    """Each task has its own strongest attack; a task with fewer leaves places empty, and five pairs go on below."""
    three = kept(tasks=tuple(TASKS))
    assert [axes.get_subplotspec().get_geometry()[:2] for axes in histories.figure(three).axes] == [(1, 3)] * 3
    more = [*kept(tasks=("classification",), eps=(2 / 255, 8 / 255)), *kept(tasks=("depth",))]
    assert [axes.get_subplotspec().num1 for axes in histories.figure(more).axes] == [0, 1, 2]
    other = [replace(each, cell=replace(each.cell, dataset="voc2012")) for each in three]
    assert [axes.get_subplotspec().get_geometry()[:2] for axes in histories.figure([*three, *other[:-2]]).axes][0] == (
        2,
        3,
    )


def test_without_attacks_the_clean_score_alone(kept: Make) -> None:
    figure = histories.figure(kept(eps=(), tasks=("classification", "depth")))
    assert [len(axes.lines) for axes in figure.axes] == [1, 1]
    assert "attacked" not in texts(ElementTree.fromstring(figures.rendered(figure, ".svg")))


def test_what_checks_found_is_marked(kept: Make) -> None:
    results = kept()
    results[3] = replace(results[3], findings=(Finding("budget", "fail", 1.0, "too far"),))
    figure = histories.figure(results)
    marks = [(text.get_text(), text.xy) for text in figure.axes[0].texts[1:]]
    assert marks == [("!", (2, results[3].metrics["accuracy"]))]
    assert said(figure).endswith("; ! a check failed")
    assert [row["checks"] for row in report(results) if row["attack"]] == ["ok", "fail: budget", "ok"]


def test_where_no_attacked_number_was_checked_that_is_said_once(kept: Make) -> None:
    bare = (Finding("budget", "unchecked", None, "not looked at"),)
    results = [replace(each, findings=bare) if each.cell.attack else each for each in kept()]
    figure = histories.figure(results)
    assert len(figure.axes[0].texts) == 1, "what the panel is about, and no mark"
    assert said(figure).endswith("; no attacked number was checked")
    some = histories.figure([*results[:-1], replace(results[-1], findings=kept()[-1].findings)])
    assert [text.get_text() for text in some.axes[0].texts[1:]] == ["?", "?"]
    assert said(some).endswith("; ? unchecked")


def test_titles_of_a_row_stand_at_one_height(kept: Make) -> None:
    """Though what is said below them is folded in one of them only."""
    two = [*kept(), *kept(eps=(1 / 3,), tasks=("depth",))]
    data = {"classification": "data", "depth": "long " * 9 + "data"}
    figure = histories.figure([replace(each, cell=replace(each.cell, dataset=data[each.cell.task])) for each in two])
    figure.draw_without_rendering()
    heights = [axes.title.get_window_extent().y0 for axes in figure.axes]
    assert "\n" in figure.axes[1].texts[0].get_text().strip()
    assert heights[0] == pytest.approx(heights[1], abs=1)


def test_limits_that_differ_are_panels_of_their_own(kept: Make) -> None:
    figure = histories.figure([*kept(limit=16), *kept(limit=32)])
    assert len(figure.axes) == 2
    assert ["limit=16" in figure.axes[0].texts[0].get_text(), "limit=32" in figure.axes[1].texts[0].get_text()] == [
        True
    ] * 2


def test_no_two_of_many_methods_look_alike(kept: Make) -> None:
    results = [each for i in range(12) for each in kept(f"method_{i}", folder=f"runs/{i}")]
    (axes,) = histories.figure(results).axes
    assert len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in axes.lines}) == 24


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def run_folder(kept: Make, tmp_path: Path) -> Path:
    store = Store(tmp_path / "run")
    for result in kept(tasks=("classification", "depth")):
        store.put(result, b"")
    return store.root


Brittle = Callable[..., tuple[int, str, str]]


def test_printed_it_is_csv_and_in_a_folder_all_of_it(run_folder: Path, tmp_path: Path, brittle: Brittle) -> None:
    code, out, _ = brittle("report", run_folder, "--format", "history")
    assert code == 0
    assert len(list(csv.DictReader(io.StringIO(out)))) == 12
    assert "\\r" not in out
    code, out, err = brittle("report", run_folder, "--format", "history,md", "--output-dir", tmp_path / "out")
    assert (code, out) == (0, "")
    names = ["history.csv", "history.pdf", "history.png", "history.svg", "report.md"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert sorted(line.rpartition("/")[2] for line in err.splitlines()) == names


@pytest.mark.parametrize(
    ("name", "start"), [("a.svg", b"<?xml"), ("b.PNG", b"\x89PNG"), ("c.pdf", b"%PDF"), ("d.csv", b"history,method")]
)
def test_one_file_is_what_its_ending_says(
    run_folder: Path, tmp_path: Path, brittle: Brittle, name: str, start: bytes
) -> None:
    code, out, err = brittle("report", run_folder, "--format", "history", "--output", tmp_path / "new" / name)
    assert (code, out, err) == (0, "", f"written: {tmp_path}/new/{name}\n")
    assert (tmp_path / "new" / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "history", "--output", "a.jpg"), "history is written as .csv, .svg, .png, .pdf"),
        (("--format", "history", "--output", "a"), "history is written as .csv, .svg, .png, .pdf"),
        (("--format", "md", "--output", "a.svg"), "md is text and has no figure"),
        (("--format", "md,csv", "--output", "a.md"), "--output is for one report"),
        (("--format", "md", "--output", "a.md", "--output-dir", "b"), "--output is for one report"),
    ],
)
def test_files_that_cannot_be_are_refused(
    run_folder: Path, brittle: Brittle, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(run_folder.parent)
    code, out, err = brittle("report", "run", *options)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in Path.cwd().iterdir()] == ["run"]


def test_another_report_goes_to_a_file_too(run_folder: Path, tmp_path: Path, brittle: Brittle) -> None:
    assert brittle("report", run_folder, "--format", "md", "--output", tmp_path / "table.md")[0] == 0
    assert (tmp_path / "table.md").read_text(encoding="utf8") == brittle("report", run_folder, "--format", "md")[1][:-1]


def test_a_run_without_a_history_is_exit_2(tmp_path: Path, brittle: Brittle, result_of: Callable[..., Result]) -> None:
    Store(tmp_path / "run").put(result_of(), b"")
    code, out, err = brittle("report", tmp_path / "run", "--format", "history", "--output", tmp_path / "a.svg")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "no result here is of a snapshot" in err
    assert not (tmp_path / "a.svg").exists()


def test_without_matplotlib_there_is_the_csv(
    run_folder: Path, tmp_path: Path, brittle: Brittle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = brittle("report", run_folder, "--format", "history", "--output-dir", tmp_path / "out")
    assert code == 2
    how = "in a checkout of brittle: pip install -c constraints.txt '.[plot]'"
    assert err == f"brittle: a figure needs the package 'matplotlib'; {how}\n"
    assert not (tmp_path / "out").exists()
    assert brittle("report", run_folder, "--format", "history", "--output", tmp_path / "a.csv")[0] == 0
