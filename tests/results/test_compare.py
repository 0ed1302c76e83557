"""``brittle compare``: rows are paired by their cells, images by their ids, and what does not fit is refused in one
line."""

import csv
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brittle.core.errors import UsageError
from brittle.core.records import Finding
from brittle.reports.parts import comparison
from brittle.results.compare import compare
from brittle.results.paired_tests import mcnemar
from brittle.results.store import Store

Brittle = Callable[..., tuple[int, str, str]]
RNG = np.random.default_rng(0)
IDS = [f"test/{i:03}" for i in range(80)]
EASY = RNG.random(80)
GOOD, BAD = EASY < 0.8, EASY < 0.4  # whatever BAD has right, GOOD has too


@pytest.fixture
def put(result_of: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """Write a result with these images right into a run of that name."""

    def write(
        run: str, encoder: str, right: np.ndarray, *, ids: list[str] = IDS, attack: str | None = None, **changes: Any
    ) -> Path:
        stream = io.BytesIO()
        np.savez(stream, correct=right.astype(int), images=np.ones(len(right), int), ids=np.array(ids))
        folder = tmp_path / run
        label = hashlib.sha256(f"{encoder}{attack}{len(right)}{sorted(changes.items())}".encode()).hexdigest()[:20]
        changes = {"images": len(right), "made_by": {"data_sha256": "d" * 64}, **changes}
        Store(folder).put(result_of(label, right.mean(), encoder=encoder, attack=attack, **changes), stream.getvalue())
        return folder

    return write


def test_the_encoders_of_one_run(put, brittle: Brittle) -> None:
    for attack in (None, "pgd", "embed"):
        put("r", "pixels(size=8)", GOOD, attack=attack)
        put("r", "pixels(size=4)", BAD if attack else GOOD, attack=attack)
        run = put("r", "pixels(size=2)", GOOD, attack=attack)
    code, out, err = brittle("compare", run, "--json")
    rows = json.loads(out)
    assert (code, err, len(rows)) == (0, "", 9)
    for row in rows:
        names = {row["a"]["name"], row["b"]["name"]}
        differ = "pixels(size=4)" in names and row["attack"] is not None
        gap = int(GOOD.sum() - BAD.sum())
        assert sum(row["discordant"]) == (gap if differ else 0)
        assert row["p"] == (mcnemar(gap, 0) if differ else 1.0)
        assert row["p_holm"] == (9 * row["p"] if differ else 1.0)
        assert row["difference"] == pytest.approx(row["a"]["value"] - row["b"]["value"])
        assert (row["low"] > 0 or row["high"] < 0) == differ
        assert (row["metric"], row["images"], row["test"]) == ("accuracy", 80, "McNemar")


def test_two_runs_of_one_encoder_each(put, brittle: Brittle) -> None:
    first, second = put("a", "pixels(size=8)", GOOD), put("b", "pixels(size=4)", BAD)
    ((found,), _) = compare(first, second)
    gap = f"worse by {found.paired.difference:.3f} ["
    code, out, err = brittle("compare", first, second)
    assert (code, err) == (0, "")
    said = " ".join(out.split())
    for words in (
        "A = pixels(size=8), B = pixels(size=4)",
        "80 images in both",
        "p (Holm)",
        "McNemar",
        "clean",
        "higher is better",
        "pixels(size=4) against pixels(size=8): worse in 1 of 1 clean number",
        f"clean accuracy: {gap}",
        f"0.387 {gap}",
    ):
        assert words in said, words
    assert found.paired.discordant == (int(GOOD.sum() - BAD.sum()), 0)


def test_two_runs_of_the_same_encoders(put) -> None:
    for name, right in (("a", GOOD), ("b", BAD)):
        put(name, "pixels(size=8)", right)
        folder = put(name, "pixels(size=4)", GOOD)
    made, notes = compare(folder.parent / "a", folder)
    assert notes == []
    assert {(one.a.cell.encoder, one.b.cell.encoder) for one in made} == {
        ("pixels(size=8)",) * 2,
        ("pixels(size=4)",) * 2,
    }
    gaps = {one.a.cell.encoder: one.paired.difference for one in made}
    assert gaps == {"pixels(size=8)": pytest.approx(GOOD.mean() - BAD.mean()), "pixels(size=4)": 0}
    assert {str(folder) in one.names[1] for one in made} == {True}


def test_seeds_are_compared_as_their_mean(put) -> None:
    """By hand: 10 of 80 images fewer under one seed, none under the other: 5 of 80 on average."""
    few = GOOD.copy()
    few[np.flatnonzero(GOOD)[:10]] = False
    for seed, other in ((0, few), (1, GOOD)):
        put("r", "pixels(size=8)", GOOD, seed=seed)
        run = put("r", "pixels(size=4)", other, seed=seed)
    put("r", "pixels(size=8)", GOOD, seed=2)  # without a partner
    (found,), notes = compare(run)
    assert found.paired.difference == pytest.approx(-5 / 80)
    assert (found.paired.seeds, found.paired.spread) == (2, pytest.approx(10 / 80 / 2**0.5))
    assert (found.a.made_by["seeds"], found.b.made_by["seeds"]) == ([0, 1], [0, 1])
    assert [note.split(":")[0] for note in notes] == ["rows without a partner"]
    assert "± 0.088" in comparison.table([found])
    assert "± is the standard deviation over 2 seeds" in " ".join(comparison.table([found]).split())


def test_the_same_data_by_another_path_is_paired(put) -> None:
    first = put("a", "pixels(size=8)", GOOD, dataset="folder:data(classes=3)")
    second = put("b", "pixels(size=8)", BAD, dataset="folder:/elsewhere/data(classes=3)")
    ((one,), notes) = compare(first, second)
    assert one.paired.images == 80
    assert not notes


def test_images_are_matched_by_id_not_by_place(put) -> None:
    order = RNG.permutation(80)
    first = put("a", "pixels(size=8)", GOOD)
    second = put("b", "pixels(size=4)", GOOD[order], ids=[IDS[i] for i in order])
    (one,), notes = compare(first, second)
    assert notes == []
    assert one.paired.discordant == (0, 0)
    assert (GOOD[order] != GOOD).sum() > 10, "by place many would differ"


def test_only_images_of_both_are_compared_and_said(put, brittle: Brittle) -> None:
    first = put("a", "pixels(size=8)", GOOD[:50], ids=IDS[:50], limit=50)
    second = put("b", "pixels(size=4)", BAD[20:], ids=IDS[20:], limit=None)
    code, out, err = brittle("compare", first, second, "--json")
    (row,) = json.loads(out)
    assert (code, row["images"]) == (0, 30)
    assert "30 images that are in both, of 50 and 60" in err
    assert row["a"]["value"] == pytest.approx(GOOD[20:50].mean())


def test_of_several_limits_the_largest_counts(put) -> None:
    put("r", "pixels(size=8)", GOOD[:20], ids=IDS[:20], limit=20)
    put("r", "pixels(size=8)", GOOD, limit=None)
    run = put("r", "pixels(size=4)", BAD, limit=None)
    (one,), _ = compare(run)
    assert one.paired.images == 80


def test_what_is_lower_is_better_where_less_is(put, brittle: Brittle) -> None:
    """RMSE is lower for B: it is better, whatever the sign of the difference."""
    facts = {"name": "classification", "headline": "accuracy", "higher_is_better": False, "attack": "pgd"}
    first = put("a", "pixels(size=8)", GOOD, attack="pgd", task=facts)
    second = put("b", "pixels(size=4)", BAD, attack="pgd", task=facts)
    said = " ".join(brittle("compare", first, second)[1].split())
    ((found,), _) = compare(first, second)
    gap, alike = f"{found.paired.difference:.3f}", "no evidence of a difference"
    assert "pixels(size=4) is more robust than pixels(size=8): better in 1 of 1 attacked number" in said
    assert f"pixels(size=4) is more robust under pgd 8/255 by {gap} [" in said
    assert f"better by {gap} [" in said
    ((row,), back) = (json.loads(brittle("compare", *pair, "--json")[1]) for pair in ((first, second), (second, first)))
    assert (row["verdict"], back[0]["verdict"]) == ("b is better", "b is worse")
    assert f"better by {gap} [{row['low']:.3f}, {row['high']:.3f}]" in said
    assert 0 < row["low"] < row["high"]
    assert alike not in said


def test_without_evidence_it_is_said_how_far_either_may_be_ahead(put, brittle: Brittle) -> None:
    few = GOOD.copy()
    few[np.flatnonzero(GOOD)[:3]] = False
    first, second = put("a", "pixels(size=8)", GOOD), put("b", "pixels(size=4)", few)
    said = " ".join(brittle("compare", first, second)[1].split())
    (row,) = json.loads(brittle("compare", first, second, "--json")[1])
    assert row["low"] < 0 < row["high"]
    assert f"{row['high']:.3f} worse to {-row['low']:.3f} better" in said
    assert "pixels(size=4) against pixels(size=8): no evidence of a difference in 1 clean number" in said
    assert " * " not in said.replace("* below", "")


def test_a_difference_of_one_row_alone_is_none_among_many(put) -> None:
    """p of one row is below .05; corrected for the four made together it is not."""
    few = GOOD.copy()
    few[np.flatnonzero(GOOD)[:7]] = False
    for attack, other in ((None, GOOD), ("pgd", few), ("embed", GOOD), ("noise", GOOD)):
        put("r", "pixels(size=8)", GOOD, attack=attack)
        run = put("r", "pixels(size=4)", other, attack=attack)
    made, _ = compare(run)
    (found,) = [each for each in made if each.paired.p < 0.05]
    assert found.p_holm >= 0.05
    assert comparison.verdict(found) == ""
    assert "is not shown to differ in robustness from" in comparison.whole(made)


def test_one_encoder_is_the_baseline_of_all_others(put, brittle: Brittle) -> None:
    for name in ("pixels(size=8)", "pixels(size=4)", "pixels(size=2)"):
        run = put("r", name, GOOD)
        other = put("s", name.replace("size=2", "size=16"), BAD)
    rows = json.loads(brittle("compare", run, "--baseline", "pixels(size=4)", "--json")[1])
    assert {row["a"]["name"] for row in rows} == {"pixels(size=4)"}
    assert {row["b"]["name"] for row in rows} == {"pixels(size=8)", "pixels(size=2)"}
    rows = json.loads(brittle("compare", run, other, "--baseline", "pixels(size=16)", "--json")[1])
    assert {row["a"]["name"] for row in rows} == {"pixels(size=16)"}
    assert len(rows) == 3
    assert all(row["a"]["value"] == pytest.approx(BAD.mean()) for row in rows)
    assert all(row["b"]["value"] == pytest.approx(GOOD.mean()) for row in rows)
    run = put("r", "pixels", BAD)
    rows = json.loads(brittle("compare", run, "--baseline", "pixels(size=64)", "--json")[1])
    assert {row["a"]["name"] for row in rows} == {"pixels"}
    code, _, err = brittle("compare", run, "--baseline", "pixels(size=9)")
    assert (code, "did you mean" in err) == (2, True)


def test_every_format_says_the_same(put, brittle: Brittle) -> None:
    for attack in (None, "pgd(steps=3)"):
        put("r", "pixels(size=8)", GOOD, attack=attack)
        run = put("r", "timm:a_b&50%", BAD, attack=attack)
    gap = f"worse by {compare(run)[0][0].paired.difference:.3f}"
    for form, words in (
        ("md", [f"| pgd(steps=3) 8/255 | 0.775 | 0.387 | **{gap}", "**timm:a_b&50% is less robust than"]),
        ("latex", [rf"\textbf{{{gap}", r"timm:a\_b\&50\%", r"\bottomrule"]),
        ("html", [f'<strong class="worse">{gap}', "timm:a_b&amp;50% is less robust than", "default-src 'none'"]),
        ("csv", ["a_name,", "b is worse", "only_a", "pgd"]),
    ):
        code, out, _ = brittle("compare", run, "--format", form)
        assert code == 0
        assert all(each in out for each in words), (form, out)
    rows = list(csv.DictReader(io.StringIO(brittle("compare", run, "--format", "csv")[1])))
    wanted = json.loads(brittle("compare", run, "--format", "json")[1])
    assert [float(row["difference"]) for row in rows] == [row["difference"] for row in wanted]
    assert [(int(row["only_a"]), int(row["only_b"])) for row in rows] == [tuple(row["discordant"]) for row in wanted]
    assert "did you mean 'latex'?" in brittle("compare", run, "--format", "latx")[2]


def _refused(brittle: Brittle, code: int, words: str, *runs: Path) -> None:
    got, out, err = brittle("compare", *runs)
    assert (got, out) == (code, "")
    assert len(err.splitlines()) == 1, err
    assert err.startswith("brittle: ")
    assert words in err, err


def test_refusals(put, result_of: Callable[..., Any], brittle: Brittle, tmp_path: Path) -> None:
    run = put("a", "pixels(size=8)", GOOD)
    _refused(brittle, 2, "one encoder (pixels(size=8)); name a second run", run)
    _refused(brittle, 4, "no results", run, tmp_path / "none")
    _refused(
        brittle, 2, "no image is in both", run, put("ids", "pixels(size=4)", BAD, ids=[f"x{i}" for i in range(80)])
    )
    _refused(brittle, 2, "an id names two images", run, put("twice", "pixels(size=4)", BAD, ids=["x"] * 80))
    changed = put("data", "pixels(size=4)", BAD, made_by={"data_sha256": "e" * 64})
    _refused(brittle, 2, "the data set was changed", run, changed)
    _refused(brittle, 2, "rows without a partner: 1 of", run, put("attack", "pixels(size=4)", BAD, attack="pgd"))
    without = tmp_path / "without"
    Store(without).put(result_of(encoder="pixels(size=4)", made_by={"data_sha256": "d" * 64}), b"")
    _refused(brittle, 4, "no per-image samples", run, without)


def test_a_row_that_cannot_be_compared_leaves_the_others(put, brittle: Brittle) -> None:
    for attack in (None, "pgd", "embed"):
        first = put("a", "pixels(size=8)", GOOD, attack=attack)
    put("b", "pixels(size=4)", BAD)
    second = put("b", "pixels(size=4)", BAD, attack="pgd", ids=[f"x{i}" for i in range(80)])
    code, out, err = brittle("compare", first, second, "--json")
    assert (code, len(json.loads(out))) == (0, 1)
    assert "not compared" in err
    assert "1 of pixels(size=8)" in err


def test_failed_cells_are_said(put, result_of: Callable[..., Any]) -> None:
    run = put("r", "pixels(size=8)", GOOD)
    Store(run).put_failed(result_of("f" * 20, failed="broken", encoder="pixels(size=4)"))
    with pytest.raises(UsageError, match="one encoder"):
        compare(run)
    put("r", "pixels(size=2)", BAD)
    _, notes = compare(run)
    assert any(note.startswith("failed in") and "pixels(size=4)" in note for note in notes)


def test_numbers_are_marked_where_a_check_failed(put, brittle: Brittle) -> None:
    fail, ok = (Finding(name, verdict, None, "x") for name, verdict in (("budget", "fail"), ("noise", "ok")))
    first = put("a", "pixels(size=8)", GOOD, attack="pgd", findings=(fail, ok))
    put("a", "pixels(size=8)", GOOD)
    second = put("b", "pixels(size=4)", BAD, attack="pgd", findings=())
    put("b", "pixels(size=4)", BAD)
    code, out, _ = brittle("compare", first, second)
    assert code == 0
    rows = [line for line in out.splitlines() if "worse by" in line and "[" in line and "*" in line]
    attacked, clean = (next(line for line in rows if words in line) for words in ("pgd 8/255", "clean "))
    assert "0.775 !" in attacked
    assert "0.387 ?" in attacked
    assert not set("!?") & set(clean)
    assert "! a check failed" in " ".join(out.split())
    assert "? unchecked" in " ".join(out.split())
    rows = {row["attack"]: row for row in json.loads(brittle("compare", first, second, "--json")[1])}
    assert (rows["pgd"]["a"]["checks"], rows["pgd"]["b"]["checks"]) == ("fail: budget", "unchecked")


def test_a_narrow_terminal_cuts_no_number(put, brittle: Brittle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for attack in ("pgd", "worst(attacks=[pgd, embed])"):
        for name, right in (("x", GOOD), ("y", BAD), ("z", BAD)):
            run = put("a", f"timm:{name * 80}", right, attack=attack)
    code, out, _ = brittle("compare", run)
    assert code == 0
    wanted = json.loads(brittle("compare", run, "--json")[1])
    assert len(wanted) == 6
    for row in wanted:
        differs = row["verdict"] != "no evidence of a difference"
        ends = sorted(map(abs, (row["low"], row["high"]))) if differs else [row["low"], row["high"]]
        words = (f"[{ends[0]:.3f}, {ends[1]:.3f}]",) if differs else (f"{ends[1]:.3f} worse", f"{-ends[0]:.3f} better")
        assert all(each in out for each in words), words
        assert all(f"{row[side]['value']:.3f}" in out for side in "ab")
        assert f"{row['p_holm']:.2g}" in out
    assert len({row["verdict"] for row in wanted}) > 1


def test_data_stand_side_by_side_where_two_fit(put, brittle: Brittle, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, right in (("pixels(size=8)", GOOD), ("pixels(size=4)", BAD)):
        for data in ("scenes", "scenes(seed=1)"):
            run = put("a", name, right, dataset=data)
    for width, across in ((80, 1), (100, 1), (140, 2)):
        monkeypatch.setenv("COLUMNS", str(width))
        code, out, _ = brittle("compare", run)
        assert code == 0
        assert max(map(len, out.splitlines())) <= width
        assert [line.count("p (Holm)") for line in out.splitlines() if "attack " in line] == [across] * (2 // across)
        assert out.count("better by 0.") == 4


def test_rows_without_a_partner_are_named_with_the_reason(put, brittle: Brittle) -> None:
    for run, encoder in (("a", "pixels(size=8)"), ("b", "pixels(size=4)")):
        put(run, encoder, GOOD)
    put("a", "pixels(size=8)", GOOD, attack="pgd")
    put("b", "pixels(size=4)", BAD, attack=f"warm(attack=pgd, eps=[{2 / 255}])")
    put("b", "pixels(size=4)", BAD, attack="pgd", eps=2 / 255)
    first = put("a", "pixels(size=8)", GOOD, attack="embed")
    second = put("b", "pixels(size=4)", GOOD, attack="noise", seed=0)
    code, _, err = brittle("compare", first, second)
    assert code == 0
    (note,) = [line for line in err.splitlines() if "without a partner" in line]
    assert "2 of pixels(size=8) and 3 of pixels(size=4): " in note
    assert "pgd 8/255 linf (pixels(size=4): continues from 2/255, where this begins afresh)" in note
    assert "pgd 8/255 linf (warm) (pixels(size=8): begins afresh, where this continues from 2/255)" in note
    assert "embed 8/255 linf (pixels(size=4): no embed)" in note
    assert "pgd 2/255 linf (pixels(size=8): no eps 2/255)" in note
    assert "noise 8/255 linf (pixels(size=8): no noise)" in note
    assert note.count(" / classification / ") == 5
    for i in range(4):
        put("b", "pixels(size=4)", GOOD, attack="embed", eps=(i + 3) / 255)
    note = next(line for line in brittle("compare", first, second)[2].splitlines() if "without a partner" in line)
    assert "2 of pixels(size=8) and 7 of pixels(size=4): " in note
    assert note.count(" / classification / ") == 5
    assert note.endswith("; and 4 more")


@pytest.mark.usefixtures("quick")
def test_a_real_run_of_dense_tasks(tmp_path: Path, brittle: Brittle) -> None:
    run = tmp_path / "r"
    words = (
        "-d",
        "scenes(train=64, val=32, test=32, size=8)",
        "-a",
        "noise",
        "-t",
        "segmentation",
        "-t",
        "depth",
        "--limit",
        "12",
        "--device",
        "cpu",
        "-q",
    )
    assert brittle("run", "-e", "pixels(size=8)", "-e", "pixels(size=16)", *words, "--output-dir", run)[0] == 0
    code, out, _ = brittle("compare", run, "--json")
    rows = json.loads(out, parse_constant=pytest.fail)
    assert code == 0
    wanted = {(task, attack) for task in ("segmentation", "depth") for attack in (None, "noise")}
    assert {(row["task"], row["attack"]) for row in rows} == wanted
    assert {row["test"] for row in rows} == {"jackknife t"}
    results = {(r.cell.task, r.cell.attack, r.cell.encoder): r for r in Store(run).results()}
    for row in rows:
        for side in "ab":
            result = results[row["task"], row["attack"], row[side]["encoder"]]
            assert row[side]["value"] == pytest.approx(result.metrics[row["metric"]], rel=1e-6)
            assert row[side]["id"] == result.id
        assert row["low"] <= row["difference"] <= row["high"]
        assert 0 <= row["p"] <= row["p_holm"] <= 1
