"""Reports over nothing, over gaps and over everything: what they show and what they must not let through."""

import csv as reader
import io
import json
from collections.abc import Callable

import pytest

from brittle import spec
from brittle.plan import Finding, Result

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
    return spec.component("reports", kind)(results, **settings)


def test_every_report_is_tested() -> None:
    assert set(spec.names("reports")) == {"csv", "json", "md", "paper", "table", "transfer"}, "a new report: add it to this file"


@pytest.mark.parametrize("kind", spec.names("reports"))
def test_nothing_at_all(kind: str) -> None:
    made = _make(kind, [])
    assert isinstance(made, str)
    assert made.strip()


@pytest.mark.parametrize("kind", spec.names("reports"))
def test_half_failed(kind: str, full: list[Result], result_of: Results) -> None:
    bad = result_of("6" * 20, attack="embed", encoder="pixels(size=16)", failed="nonfinite: the model predicts nan")
    made = _make(kind, [*full, bad])
    assert "failed" in made
    assert ("nonfinite" in made) == (kind != "table")


@pytest.mark.parametrize("kind", spec.names("reports"))
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
    assert any("16 test pictures" in line and "95 %" in line and "linf 8/255" in line for line in lines)


def test_marks_of_checks(result_of: Results) -> None:
    from brittle import rows

    fail = (Finding("budget", "fail", 1.0, "too far"), Finding("rounding", "ok", 0.0, ""))
    cases = {" !": result_of(attack="pgd", findings=fail), " ?": result_of(attack="pgd", findings=()), "": result_of(attack="pgd")}
    for mark, result in cases.items():
        assert rows.text(result) == f"0.500 [0.400, 0.600]{mark}"
    assert rows.text(result_of()) == "0.500 [0.400, 0.600]"  # a clean number needs no check
    assert rows.text(None) == rows.GAP
    assert rows.text(result_of(failed="x")) == "failed"
    captions = [rows.caption([result]) for result in cases.values()]
    assert "! a check failed" in captions[0]
    assert "? unchecked" in captions[1]
    assert "check" not in captions[2]


def test_a_number_is_unchecked_where_no_check_could_look(result_of: Results) -> None:
    from brittle import rows

    blind, one = Finding("gradient", "unchecked", None, "none taken"), Finding("budget", "ok", 0.0, "")
    assert rows.text(result_of(attack="pgd", findings=(blind,))).endswith(" ?")
    assert rows.text(result_of(attack="pgd", findings=(blind, one))).endswith("]")


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


def test_several_eps_and_seeds_do_not_share_a_place(result_of: Results) -> None:
    many = [
        result_of(f"{eps}{seed}" * 10, attack="pgd", eps=eps / 255, seed=seed, value=(eps + seed) / 20) for eps in (2, 4) for seed in (0, 1)
    ]
    made = _make("md", many)
    assert "downstream 2/255" in made
    assert "downstream 4/255" in made
    assert "seed=0" in made
    assert "seed=1" in made
    for result in many:
        assert f"{result.metrics['accuracy']:.3f} [" in made


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


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
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
    many = [result_of(f"{i:020d}", i / 20, attack=f"pgd(steps={i})", eps=eps / 255) for i in range(1, 6) for eps in (2, 4, 8)]
    made = _make("table", many)
    for result in many:
        assert f"{result.metrics['accuracy']:.3f}" in made


def test_the_transfer_gap_is_the_share_of_the_strongest_damage(result_of: Results) -> None:
    def row(name: str, value: float, attack: str | None, **changes: object) -> Result:
        return result_of(name * 20, value, attack=attack, **changes)

    results = [row("1", 0.9, None), row("2", 0.6, "embed"), row("3", 0.3, "pgd"), row("4", 0.5, "apgd")]
    made = _make("md", results)
    assert made.splitlines()[0].endswith("| transfer gap |")
    assert made.splitlines()[2].endswith("| 0.50 |"), "(0.9 - 0.6) / (0.9 - 0.3)"
    assert "transfer gap" in _make("table", results)
    strongest = [row("1", 0.9, None), row("2", 0.1, "embed"), row("3", 0.3, "pgd")]
    assert _make("md", strongest).splitlines()[2].endswith("| 1.00 |")
    assert "transfer gap" not in _make("md", results[:1] + results[2:])
    smaller = [row("1", 0.9, None), row("2", 0.8, "embed", eps=0.01), row("3", 0.7, "pgd", eps=0.01), row("4", 0.2, "pgd", eps=0.02)]
    assert _make("md", smaller).splitlines()[2].endswith("| 0.50 |"), "the largest budget that has both"
