"""Reports over nothing, over gaps and over everything: what they show and what they must not let through."""

import csv as reader
import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from brittle.core import components
from brittle.core.records import Finding, Result
from brittle.core.text import tinted
from brittle.reports.parts import layout, transfer, wording
from brittle.results.store import Store

Results = Callable[..., Result]


@pytest.fixture
def full(result_of: Results) -> list[Result]:
    return [
        result_of("1" * 20, 0.9),
        result_of("2" * 20, 0.25, attack="embed"),
        result_of("3" * 20, 0.125, attack="pgd"),
        result_of("4" * 20, 0.8, encoder="pixels(size=16)"),
        result_of("5" * 20, 0.0625, attack="pgd", encoder="pixels(size=16)"),
    ]


def _make(kind: str, results: list[Result], **settings: object) -> str:
    return components.component("reports", kind).function(results, **settings)


def test_every_report_is_tested() -> None:
    assert set(components.names("reports")) == {
        "card",
        "csv",
        "history",
        "html",
        "json",
        "latex",
        "md",
        "paper",
        "plot",
        "table",
        "transfer",
    }, "a new report: add it to this file"


ALWAYS = sorted(set(components.names("reports")) - {"history"})  # test_history_report.py: it needs results of snapshots


@pytest.mark.fault("F30")
@pytest.mark.parametrize("kind", ALWAYS)
def test_nothing_at_all(kind: str) -> None:
    made = _make(kind, [])
    assert isinstance(made, str)
    assert made.strip()


@pytest.mark.fault("F30")
@pytest.mark.parametrize("kind", ALWAYS)
def test_half_failed(kind: str, full: list[Result], result_of: Results) -> None:
    bad = result_of("6" * 20, attack="embed", encoder="pixels(size=16)", failed="nonfinite: the model predicts nan")
    made = _make(kind, [*full, bad])
    assert "failed" in made
    assert "nonfinite" in made


@pytest.mark.fault("F30")
@pytest.mark.parametrize("kind", ALWAYS)
def test_all_failed(kind: str, result_of: Results) -> None:
    assert "failed" in _make(kind, [result_of(failed="violation: left the threat", attack="pgd")])


@pytest.mark.parametrize("kind", ["md", "table"])
def test_the_papers_table(kind: str, full: list[Result]) -> None:
    lines = _make(kind, full, **({"width": 200} if kind == "table" else {})).splitlines()
    head = next(line for line in lines if "clean" in line)
    assert head.index("clean") < head.index("embed") < head.index("downstream")
    (first,) = [line for line in lines if "pixels(size=8)" in line]
    (second,) = [line for line in lines if "pixels(size=16)" in line]
    for text in ("0.900 [0.800, 1.000]", "0.250 [0.150, 0.350]", "0.125 [0.025, 0.225]"):
        assert text in first
    assert "0.062 [0.000, 0.162]" in second or "0.063 [0.000, 0.163]" in second or "0.062 [0.000, 0.163]" in second
    assert "\u2013" in second  # embed was not measured there
    assert any("16 test images" in line and "95 %" in line and "linf 8/255" in line for line in lines)


def test_marks_of_checks(result_of: Results) -> None:
    fail = (Finding("budget", "fail", 1.0, "too far"), Finding("rounding", "ok", 0.0, ""))
    cases = {
        " !": result_of(attack="pgd", findings=fail),
        " ?": result_of(attack="pgd", findings=()),
        "": result_of(attack="pgd"),
    }
    for mark, result in cases.items():
        assert wording.text(result) == f"0.500 [0.400, 0.600]{mark}"
    assert wording.text(result_of()) == "0.500 [0.400, 0.600]"  # a clean number needs no check
    assert wording.text(None) == layout.GAP
    assert wording.text(result_of(failed="x")) == "failed"
    captions = [wording.caption([result]) for result in cases.values()]
    assert "! a check failed" in captions[0]
    assert "? unchecked" in captions[1]
    assert "check" not in captions[2]


def test_a_number_is_unchecked_where_no_check_could_look(result_of: Results) -> None:
    blind, one = Finding("gradient", "unchecked", None, "none taken"), Finding("budget", "ok", 0.0, "")
    assert wording.text(result_of(attack="pgd", findings=(blind,))).endswith(" ?")
    assert wording.text(result_of(attack="pgd", findings=(blind, one))).endswith("]")


def test_what_checks_found_stands_below_the_table(result_of: Results) -> None:
    found = (
        Finding("budget", "fail", 1.0, "too far\nout"),
        Finding("rounding", "warn", 0.2, "moved"),
        Finding("gradient", "unchecked", None, "none taken"),
        Finding("noise", "ok", 0.0, "weaker"),
        Finding("of_another_version", "fail", None, "who knows"),
    )
    made = _make("md", [result_of(attack="pgd", findings=found)])
    lines = [line for line in made.splitlines() if line.startswith("- ")]
    assert [line.partition(": ")[0] for line in lines] == ["- fail", "- warn", "- unchecked", "- fail"]
    assert lines[0].startswith("- fail: budget: pixels(size=8) / scenes(")
    assert lines[0].endswith("too far out. If not, the attack is broken: do not use the number.")
    assert "report the rounded number" in lines[1]
    assert lines[2].endswith(": none taken")
    assert lines[3].endswith(": who knows")
    assert all(" / classification / pgd 8/255 linf: " in line for line in lines)


def test_several_eps_do_not_share_a_place(result_of: Results) -> None:
    made = _make("md", [result_of(f"{eps}" * 20, attack="pgd", eps=eps / 255, value=eps / 20) for eps in (2, 4)])
    assert "downstream 2/255" in made
    assert "downstream 4/255" in made
    assert "0.100 [" in made
    assert "0.200 [" in made


def test_seeds_are_a_mean_and_a_spread(result_of: Results) -> None:
    """By hand: .2 and .4 are .3 with a deviation of .141, the ends of their intervals .1 and .5, .2 and .4 on average;
    a fit that failed and an encoder with one seed stay as they are."""
    many = [result_of(f"{seed}" * 20, value, attack="pgd", seed=seed) for seed, value in ((0, 0.2), (1, 0.4))]
    made = _make("md", many)
    assert "| 0.300 ± 0.141 [0.200, 0.400] |" in made
    assert "seed=" not in made
    assert "± is the standard deviation over seeds 0, 1 (heads and random starts), intervals are over images" in made
    other = result_of("2" * 20, 0.6, attack="pgd", seed=0, encoder="pixels(size=16)")
    made = _make("md", [*many, other, result_of("3" * 20, attack="pgd", seed=2, failed="out of luck")])
    assert "pixels(size=8) seed=0,1 |" in made
    assert "pixels(size=8) seed=2 |" in made
    assert "pixels(size=16) seed=0 |" in made
    assert "| 0.600 [0.500, 0.700] |" in made
    twice = _make("md", [*many, replace(many[0], id="9" * 20)])
    assert "±" not in twice, "two numbers of one seed are not two seeds"
    assert all(str(seed) in _make("csv", many) for seed in (0, 1)), "each seed has its own line there"


def test_csv_is_read_back(full: list[Result], result_of: Results) -> None:
    bad = result_of("6" * 20, attack="embed", failed='odd, "quoted"\nand broken')
    lines = list(reader.DictReader(io.StringIO(_make("csv", [*full, bad]))))
    assert len(lines) == 6
    for line, result in zip(lines, full):
        assert line["id"] == result.id
        assert line["encoder"] == result.cell.encoder
        assert float(line["accuracy"]) == result.metrics["accuracy"]
        assert float(line["accuracy_low"]) == result.intervals["accuracy"][0]
        assert float(line["accuracy_uint8"]) == result.metrics_uint8["accuracy"]
    assert lines[5]["failed"] == bad.failed
    assert lines[5]["accuracy"] == ""


def test_csv_has_attack_settings_and_budget_in_columns_of_their_own(result_of: Results) -> None:
    attacks = ("worst(attacks=[pgd, embed])", f"warm(attack='pgd(steps=5)', eps=[{2 / 255}])", "stored:a/b", None)
    made = [result_of(str(i) * 20, attack=attack) for i, attack in enumerate(attacks)]
    rows = list(reader.DictReader(io.StringIO(_make("csv", made))))
    found = [[row[name] for name in ("attack", "settings", "warm", "norm")] for row in rows]
    assert found == [
        ["worst", "attacks=[pgd, embed]", "", "linf"],
        ["pgd", "steps=5", "2/255", "linf"],
        ["stored:a/b", "", "", "linf"],
        ["", "", "", ""],
    ]


def test_a_column_is_called_what_the_plan_calls_it(
    result_of: Results, brittle: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    for name, attacks in (("named", ["pgd"]), ("own", ["embed", "downstream"]), ("none", None)):
        store = Store(tmp_path / name)
        store.put(result_of("1" * 20, attack="pgd", encoder=f"pixels(size={len(name)})"), b"")
        if attacks:
            store.note("plan.yaml", json.dumps({"attacks": attacks}))
    heads = {name: brittle("report", tmp_path / name, "--format", "md")[1].splitlines()[0] for name in ("named", "own")}
    assert "| pgd |" in heads["named"]
    assert "| downstream |" in heads["own"]
    out = brittle("report", tmp_path / "named", "--format", "md")[1]
    assert "downstream" not in out
    out = brittle("report", *(tmp_path / name for name in ("named", "own", "none")), "--format", "md")[1]
    assert "| downstream |" in out
    assert "| pgd |" not in out, "one attack has one column"


def test_colours_are_for_marks_failures_and_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    plain = "0.467 [0.397, 0.536] !   0.5 ?\n  pgd     failed \n; ! a check failed\n- fail: noise\n- warn: start"
    seen = tinted(plain, wording.TINTS, Terminal()).replace("\x1b[31m", "<r>").replace("\x1b[33m", "<y>")
    assert seen.replace("\x1b[0m", "</>").splitlines() == [
        "0.467 [0.397, 0.536]<r> !</>   0.5<y> ?</>",
        "  pgd     <r>failed</> ",
        "; ! a check failed",
        "<r>- fail</>: noise",
        "<y>- warn</>: start",
    ]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.9999999, 1.0, "[0.999, 1.000]"),
        (1.0, 1.0, "[1.000, 1.000]"),
        (0.0, 0.0001, "[0.000, 0.001]"),
        (0.0, 0.0, "[0.000, 0.000]"),
        (0.5, 1.2, "[0.500, 1.200]"),
        (1.00004, 1.2, "[1.000, 1.200]"),
    ],
)
def test_an_interval_is_no_narrower_at_its_ends_than_it_is(low: float, high: float, words: str) -> None:
    assert wording.ends(low, high) == words


@pytest.mark.threat("csv")
@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_csv_cells_are_no_formulas(result_of: Results, text: str) -> None:
    made = _make("csv", [result_of(failed=text, encoder=text, dataset=text)])
    (line,) = reader.DictReader(io.StringIO(made))
    for name in ("encoder", "dataset", "failed"):
        assert line[name] == f"'{text}"


def test_csv_keeps_negative_numbers_as_numbers(result_of: Results) -> None:
    (line,) = reader.DictReader(io.StringIO(_make("csv", [result_of(metrics={"accuracy": -0.5})])))
    assert float(line["accuracy"]) == -0.5


def test_md_escapes_bars_and_line_breaks(result_of: Results) -> None:
    lines = _make("md", [result_of(encoder="folder|of\nthings")]).splitlines()
    row = next(line for line in lines if "folder" in line)
    assert "folder\\|of things" in row
    assert row.replace("\\|", "").count("|") == lines[0].count("|")


@pytest.mark.fault("F30")
def test_json_is_strict_and_complete(full: list[Result]) -> None:
    data = json.loads(_make("json", full), parse_constant=pytest.fail)
    assert [Result.from_dict(row) for row in data] == full
    with pytest.raises(ValueError, match="JSON"):
        _make("json", [Result("x", full[0].cell, full[0].task, metrics={"accuracy": float("nan")})])


def test_table_is_plain_text_and_keeps_brackets(full: list[Result]) -> None:
    made = _make("table", full)
    assert "\x1b" not in made
    assert "[0.800, 1.000]" in made


def test_a_wide_table_loses_no_number(result_of: Results) -> None:
    many = [
        result_of(f"{i:020d}", i / 20, attack=f"pgd(steps={i})", eps=eps / 255)
        for i in range(1, 6)
        for eps in (2, 4, 8)
    ]
    made = _make("table", many)
    for result in many:
        assert f"{result.metrics['accuracy']:.3f}" in made


def test_the_transfer_ratio_is_the_share_of_the_strongest_damage(result_of: Results) -> None:
    def row(name: str, value: float, attack: str | None, **changes: object) -> Result:
        return result_of(name * 20, value, attack=attack, **changes)

    results = [row("1", 0.9, None), row("2", 0.6, "embed"), row("3", 0.3, "pgd"), row("4", 0.5, "apgd")]
    made = _make("md", results)
    assert made.splitlines()[0].endswith("| transfer ratio |")
    assert made.splitlines()[2].endswith("| 0.50 |"), "(0.9 - 0.6) / (0.9 - 0.3)"
    assert "transfer ratio" in _make("table", results)
    strongest = [row("1", 0.9, None), row("2", 0.1, "embed"), row("3", 0.3, "pgd")]
    assert _make("md", strongest).splitlines()[2].endswith("| 1.33 |"), (
        "more than 1: the attack that sees the head is the weaker one"
    )
    assert "transfer ratio" not in _make("md", results[:1] + results[2:])
    smaller = [
        row("1", 0.9, None),
        row("2", 0.8, "embed", eps=0.01),
        row("3", 0.7, "pgd", eps=0.01),
        row("4", 0.2, "pgd", eps=0.02),
    ]
    assert _make("md", smaller).splitlines()[2].endswith("| 0.50 |"), "the largest budget that has both"


# --- nothing is cut ---------------------------------------------------------------------------------------------------


def _shown(text: str) -> str:
    """The words of a table or caption without its line breaks."""
    return " ".join(text.split())


ENCODERS = ("pixels(size=8)", "timm:vit_small_patch14_dinov2.lvd142m(size=224)")
ATTACKS = ("embed", "worst(attacks=[pgd, embed])", *(f"stored:runs/made/adversarial/{i:020d}" for i in range(4)))


def _many(result_of: Results) -> list[Result]:
    fail = (Finding("noise", "fail", 1.0, "noise does more"),)
    clean = [result_of(f"{i}" * 20, 0.9, encoder=name) for i, name in enumerate(ENCODERS)]
    return clean + [
        result_of(f"{i}{j}", 0.1 + i / 100 + j / 10, attack=attack, findings=fail, encoder=name)
        for i, name in enumerate(ENCODERS)
        for j, attack in enumerate(["pgd", *ATTACKS])
    ]


@pytest.mark.parametrize("width", [40, 80, 120, 200, 400])
def test_no_number_name_or_mark_is_ever_cut(result_of: Results, width: int) -> None:
    many = _many(result_of)
    made = _make("table", many, width=width)
    numbers = [wording.text(result) for result in many]
    assert all(text in made for text in numbers)
    assert made.count(" !\n") + made.count(" ! ") >= 14
    assert "…" not in made.split("test images")[0]
    assert "…" in made, "some of the remarks are left out, and that is said"
    top = made.split("16 test images")[0]
    if width >= 400:
        assert all(
            name in top for name in ("classification", "size=8)", *ENCODERS, *ATTACKS, "accuracy", "transfer ratio")
        )
        return
    end = next(line.index("metric") for line in top.splitlines() if "metric" in line)
    names = "".join(line[:end] for line in top.splitlines()).replace(" ", "")
    for encoder in ENCODERS:
        row = names.split(encoder, 1)
        assert row[0].endswith("classification/scenes(train=64,val=32,test=32,size=8)/")
        assert all(name.replace(" ", "") in row[1] for name in (*ATTACKS, "clean", "downstream", "transferratio"))


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_long_layout_keeps_to_the_width(result_of: Results, width: int) -> None:
    made = _make("table", _many(result_of), width=width)
    assert max(map(len, made.splitlines())) <= width
    assert "transfer ratio" in made
    numbers = [line for line in made.splitlines() if " accuracy " in line]
    assert [line.count("[0.") for line in numbers] == [1] * 16


def test_the_wide_layout_where_it_fits(full: list[Result]) -> None:
    assert "task / data / encoder" not in _make("table", full, width=200)
    assert "task / data / encoder" in _make("table", full, width=60)


def _tasks(result_of: Results) -> list[Result]:
    made = [
        (task, result_of(f"{i}{j}{k}", 0.1 + i / 10 + j / 100 + k / 1000, encoder=encoder, attack=attack))
        for i, task in enumerate(("classification", "layout", "normals"))
        for j, encoder in enumerate(("embedded:dino", "embedded:fare"))
        for k, attack in enumerate((None, "embed", "pgd", "sea(steps=4)"))
    ]
    return [replace(result, cell=replace(result.cell, task=task)) for task, result in made]


@pytest.mark.parametrize(("width", "across"), [(80, 0), (99, 0), (100, 2), (140, 3)])
def test_tasks_stand_side_by_side_where_two_fit(result_of: Results, width: int, across: int) -> None:
    several = _tasks(result_of)
    made = _make("table", several, width=width)
    assert max(map(len, made.splitlines())) <= width
    heads = [line.count(" value") for line in made.splitlines() if " value" in line]
    assert heads == {0: [1], 2: [2, 1], 3: [3]}[across]
    assert ("task / data / encoder / attack" in made) == (across == 0)
    assert all(wording.text(result) in made for result in several), "no number is folded"
    assert all(f"{name}{':' if across else ' /'} " in made for name in ("classification", "layout", "normals"))
    rows = [line.count("embedded:dino") for line in made.splitlines() if "embedded:dino" in line]
    assert rows == {0: [1] * 3, 2: [2, 1], 3: [3]}[across], "rows of one encoder stand beside each other"
    assert made.count("embedded:fare") == 3
    assert "16 test images" in made
    one = _make("table", several[:8], width=width)
    assert "task / data / encoder / attack" in one, "one task has nothing to stand beside"


def test_a_pipe_knows_nothing_of_the_terminal(result_of: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((400, 50)))  # of stdin and stderr
    assert "task / data / encoder / attack" in _make("table", _tasks(result_of))


def test_the_width_is_the_terminals_or_160_where_there_is_none(
    full: list[Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert _make("table", full) == _make("table", full, width=160)
    monkeypatch.setenv("COLUMNS", "60")
    assert _make("table", full) == _make("table", full, width=60)


def test_why_a_number_has_a_mark_stands_below_the_terminals_table(result_of: Results) -> None:
    warn, fail = Finding("rounding", "warn", 0.2, "moved by 0.2"), Finding("budget", "fail", 1.0, "too far\nout")
    blind = Finding("gradient", "unchecked", None, "none taken")
    many = [result_of(f"{i}" * 20, attack=f"pgd(steps={i})", findings=(warn, blind)) for i in range(9)]
    many += [
        result_of("b" * 20, attack="embed", findings=(fail,)),
        result_of("c" * 20, attack="noise", failed="out of\nmemory"),
    ]
    made = _make("table", many, width=300)
    below = made.split("a check failed")[1].splitlines()[1:]
    below = [line for line in below if line]
    assert below[0].startswith("- failed: pixels(size=8) / scenes(")
    assert below[0].endswith(" / classification / noise 8/255 linf: out of memory")
    assert below[1].startswith("- fail: budget: ")
    assert below[1].endswith(": too far out")
    assert [line.split(": ")[:2] for line in below[2:9]] == [["- warn", "rounding"]] * 7
    assert below[9:] == ["… and 2 more: brittle report RUN --format md"]
    assert "none taken" not in made


# --- checks -----------------------------------------------------------------------------------------------------------


def test_csv_says_what_the_checks_found(result_of: Results) -> None:
    bad = tuple(
        Finding(name, verdict, None, "x")
        for name, verdict in [("a", "warn"), ("b", "fail"), ("c", "ok"), ("d", "unchecked"), ("e", "fail")]
    )
    cases = [
        result_of(attack="pgd", findings=bad),
        result_of(attack="pgd", findings=()),
        result_of(attack="pgd", findings=(bad[3],)),
        result_of(attack="pgd"),
        result_of(),
        result_of(attack="pgd", failed="no"),
    ]
    lines = list(reader.DictReader(io.StringIO(_make("csv", cases))))
    assert [line["checks"] for line in lines] == ["fail: b, e; warn: a", "unchecked", "unchecked", "ok", "", ""]


# --- warm and cold ----------------------------------------------------------------------------------------------------

WARM = f"warm(attack=pgd, eps=[{2 / 255}])"
ON = "each budget continues from the smaller ones"


@pytest.mark.parametrize("kind", ["md", "table"])
def test_warm_and_cold_are_both_seen(result_of: Results, kind: str) -> None:
    both = [
        result_of("1" * 20, 0.7, attack="pgd", eps=2 / 255),
        result_of("2" * 20, 0.6, attack="pgd"),
        result_of("3" * 20, 0.4, attack=WARM),
    ]
    made = _make(kind, both)
    assert all(text in made for text in ("0.700 [", "0.600 [", "0.400 ["))
    assert "downstream 8/255 (warm)" in made
    assert f"downstream 8/255 (warm): {ON}" in made
    alone = _make(kind, [both[0], both[2]])
    assert "(warm)" not in alone
    assert ON in alone
    assert f": {ON}" not in alone


def test_what_an_attack_aims_at_is_named(result_of: Results) -> None:
    metrics, made_by = {"accuracy": 0.5, "reached": 0.75}, {"aims": {"2": "10"}}
    made = _make("md", [result_of(attack="pgd(objective=targeted(label=2))", metrics=metrics, made_by=made_by)])
    assert "0.750 [nan, nan] of what it aimed at is predicted as class 2 (10)" in made


@pytest.mark.parametrize("kind", ["md", "table"])
def test_two_numbers_of_one_cell_are_both_seen(result_of: Results, kind: str) -> None:
    """From two folders: attacked in two precisions, or by two versions of a component."""
    half, full = (
        result_of(f"{i}" * 20, 0.1 * i, attack="pgd", made_by={"precision": name})
        for i, name in ((5, "bf16"), (6, "fp32"))
    )
    older = result_of("7" * 20, 0.7, attack="pgd", made_by={"precision": "bf16"})
    made = _make(kind, [half, full, older, half])
    assert all(text in made for text in ("downstream (fp32)", "downstream (777777)"))
    assert all(made.count(text) == 1 for text in ("0.500 [", "0.600 [", "0.700 ["))


def test_warm_starts_that_differ_are_told_apart(result_of: Results) -> None:
    other = f"warm(attack=pgd, eps=[{1 / 255}, {4 / 255}])"
    made = _make("md", [result_of("1" * 20, 0.7, attack=WARM), result_of("2" * 20, 0.6, attack=other)])
    assert "downstream (warm from 2/255) | downstream (warm from 1/255, 4/255)" in made.splitlines()[0]


def test_the_caption_says_of_which_attacks_budgets_go_on(result_of: Results) -> None:
    ladder = [result_of("1" * 20, attack="pgd", eps=2 / 255), result_of("2" * 20, attack=WARM)]
    assert f"; {ON}" in wording.caption(ladder)
    cold = [result_of("3" * 20, attack="noise", eps=eps / 255) for eps in (2, 8)]
    assert f"; downstream: {ON}" in wording.caption([*ladder, *cold])
    assert ON not in wording.caption(cold)


# --- transfer ratio ---------------------------------------------------------------------------------------------------


def _gaps(result_of: Results, attacks: dict[str | None, float], **changes: object) -> list[str]:
    results = [
        result_of(f"{i}" * 20, value, attack=attack, **changes) for i, (attack, value) in enumerate(attacks.items())
    ]
    return transfer.transfer_ratios(layout.layout(results)[1])


def test_a_transfer_ratio_needs_an_attack_that_sees_the_head(result_of: Results) -> None:
    for blind in ("noise", "stored:runs/a/adversarial/b", "curve(attack=noise)", "worst(attacks=[noise, embed])"):
        assert _gaps(result_of, {None: 0.9, "embed": 0.5, blind: 0.3}) == [], blind
        assert _gaps(result_of, {None: 0.9, "embed": 0.6, blind: 0.1 if blind[0] != "w" else 0.7, "pgd": 0.3}) == [
            "0.50"
        ], blind
    assert _gaps(result_of, {None: 0.9, "noise": 0.5, "pgd": 0.3}) == []


@pytest.mark.parametrize(
    "attack",
    [
        "embed_worst",
        "embed(distance=cosine)",
        "curve(attack=embed)",
        "curve(attack=warm(attack=embed, eps=[0.01]))",
        "pgd(objective=embedding)",
        "apgd(objective=embedding(distance=cosine), steps=3)",
        "curve(attack=pgd(objective=embedding))",
        "worst(attacks=[embed, pgd(objective=embedding)])",
    ],
)
def test_attacks_on_the_encoder_alone(result_of: Results, attack: str) -> None:
    for seeing in (
        "pgd",
        "apgd(objective=dlr)",
        "worst",
        "worst(attacks=[embed, pgd])",
        "curve",
        "curve(attack=apgd)",
        "square",
    ):
        assert _gaps(result_of, {None: 0.9, attack: 0.6, seeing: 0.3}) == ["0.50"], seeing


def test_damage_has_a_sign(result_of: Results) -> None:
    assert _gaps(result_of, {None: 0.5, "embed": 0.6, "pgd": 0.3}) == ["0.00"]
    assert _gaps(result_of, {None: 0.5, "embed": 0.3, "pgd": 0.6}) == []
    assert _gaps(result_of, {None: 0.5, "embed": 0.3, "pgd": 0.5}) == []
    facts = {"name": "depth", "headline": "accuracy", "higher_is_better": False, "attack": "pgd"}
    results = [
        result_of(f"{i}" * 20, value, attack=attack)
        for i, (attack, value) in enumerate([(None, 0.4), ("embed", 0.5), ("pgd", 0.8)])
    ]
    results = [replace(result, task=facts) for result in results]
    assert transfer.transfer_ratios(layout.layout(results)[1]) == ["0.25"]
    results[1] = replace(results[1], metrics={"accuracy": 0.3})
    assert transfer.transfer_ratios(layout.layout(results)[1]) == ["0.00"]


def test_representation_has_no_gap_and_says_what_it_compares(result_of: Results) -> None:
    facts = {"name": "representation", "headline": "alignment", "higher_is_better": False, "attack": "pgd"}
    values = {None: 0.8, "embed": 0.9, "pgd": 1.2}
    results = [
        replace(
            result_of(f"{i}" * 20, attack=attack, findings=()), task=facts, metrics={"alignment": value}, intervals={}
        )
        for i, (attack, value) in enumerate(values.items())
    ]
    results = [replace(result, cell=replace(result.cell, task="representation(projector=true)")) for result in results]
    said = (
        "alignment is of two views of an image where clean, of an image and its attacked self where attacked: "
        "not to be compared"
    )
    for kind in ("md", "table"):
        made = _shown(_make(kind, results))
        assert "transfer ratio" not in made
        assert said in made
        assert "these rows have no checks" in made
    assert "two views" not in _make("md", [result_of()])


def test_the_papers_name_and_no_path(full: list[Result]) -> None:
    made = _make("paper", full)
    assert (
        "paper: Benchmarking Robust Self-Supervised Learning Across Diverse Downstream Tasks (arXiv 2407.12588, 2024)\n"
        in made
    )
    assert "seeds" not in made


def test_the_size_of_what_heads_were_fitted_on_is_in_the_row(full: list[Result]) -> None:
    sized = [replace(result, made_by={**result.made_by, "train_images": 24231}) for result in full]
    assert wording.caption(sized).count("heads fitted on 24,231 images of") == 1
    tasks = ("classification", "segmentation", "depth")
    several = [replace(each, cell=replace(each.cell, task=task)) for task in tasks for each in sized]
    assert "; classification, segmentation and depth heads fitted on 24,231 images of " in wording.caption(several)
    assert "heads fitted" not in wording.caption(full), "results of older versions do not say"
    rows = list(reader.DictReader(io.StringIO(_make("csv", sized))))
    assert {row["train_images"] for row in rows} == {"24231"}
