"""``brittle leaderboard``: what stands in one table, which rows are complete, and what nobody's name can do."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brittle.core.records import Finding, Result
from brittle.reports.parts import board
from brittle.results.store import Store

Brittle = Callable[..., tuple[int, str, str]]
Make = Callable[..., Result]
SEEN = {"weights_sha256": "1f" * 32, "data_sha256": "2e" * 32, "versions": {"brittle": "0.1.0"}}


@pytest.fixture
def made(result_of: Make) -> Callable[..., Result]:
    """A made-up result; its id is of what it is."""

    def make(encoder: str, value: float, attack: str | None = None, **changes: Any) -> Result:
        made_by = {**SEEN, "weights_sha256": encoder, "weights": {"licence": "MIT", "parameters": 7}}
        made_by |= changes.pop("made_by", {})
        name = f"{abs(hash((encoder, value, attack, str(changes), str(made_by)))):020x}"[:20]
        return result_of(name, value, encoder=encoder, attack=attack, **{"made_by": made_by, **changes})

    return make


def boards(*runs: Sequence[Result]) -> list[board.Board]:
    return board.boards([board.Run(f"run {place}", f"runs/{place}.html", run) for place, run in enumerate(runs)])


def told(line: board.Line) -> list[str | None]:
    return [shown and shown.text for shown in line.numbers]


def test_runs_of_two_people_are_one_table(made: Make) -> None:
    (one,) = boards([made("a", 0.9), made("a", 0.2, "pgd")], [made("b", 0.8), made("b", 0.4, "pgd")])
    assert [(column.task, column.name) for column in one.columns] == [
        ("classification", "clean"),
        ("classification", "downstream"),
    ]
    assert [(line.encoder, told(line), line.place) for line in one.lines] == [
        ("b", ["0.800", "0.400"], 1.0),
        ("a", ["0.900", "0.200"], 2.0),
    ]
    assert [[run.name for run in line.runs] for line in one.lines] == [["run 1"], ["run 0"]]
    assert {(line.licence, line.parameters, line.lacks, line.found) for line in one.lines} == {
        ("MIT", 7, 0, "nothing found")
    }
    assert one.facts == {"protocol": "standard", "test images": "16", "version": "0.1.0"}


@pytest.mark.parametrize(
    "change",
    [{"protocol": "paper"}, {"limit": 32}, {"made_by": {"versions": {"brittle": "0.2.0"}}}],
)
def test_what_was_measured_otherwise_has_a_table_of_its_own(made: Make, change: dict[str, Any]) -> None:
    run = [made("a", 0.9), made("a", 0.2, "pgd"), made("b", 0.9), made("b", 0.3, "pgd")]
    first, second = boards(run, [made("c", 0.8, **change), made("c", 0.4, "pgd", **change)])
    assert [[line.encoder for line in each.lines] for each in (first, second)] == [["b", "a"], ["c"]]
    assert first.hash != second.hash


def test_data_of_other_content_are_no_column_of_the_same(made: Make) -> None:
    other = {"data_sha256": "3d" * 32}
    (one,) = boards([made("a", 0.9), made("b", 0.8)], [made("c", 0.7, made_by=other)])
    assert len({column.dataset for column in one.columns}) == 2
    assert [(line.encoder, line.lacks) for line in one.lines] == [("a", 0), ("b", 0), ("c", 1)]


def test_data_of_one_content_are_one_column_wherever_they_lie(made: Make) -> None:
    (one,) = boards([made("a", 0.9, dataset="folder:/home/x/cars")], [made("b", 0.7, dataset="folder:autos")])
    assert [column.dataset for column in one.columns] == ["folder:cars"]
    assert [told(line) for line in one.lines] == [["0.900"], ["0.700"]]


def test_weights_of_one_name_have_rows_of_their_own(made: Make) -> None:
    (one,) = boards([made("file:/home/x/w.pth", 0.9, made_by={"weights_sha256": "1" * 64})],
                    [made("file:/data/w.pth", 0.7, made_by={"weights_sha256": "2" * 64})])  # fmt: skip
    assert sorted(line.encoder for line in one.lines) == ["file:w.pth weights=111111", "file:w.pth weights=222222"]
    (one,) = boards([made("file:/home/x/w.pth", 0.9, made_by={"weights_sha256": "1" * 64})],
                    [made("file:/data/w.pth", 0.2, "pgd", made_by={"weights_sha256": "1" * 64})])  # fmt: skip
    assert [(line.encoder, told(line)) for line in one.lines] == [("file:w.pth", ["0.900", "0.200"])]


def test_a_row_is_complete_if_it_has_what_half_of_them_have(made: Make) -> None:
    run = [made(encoder, 0.9, attack) for encoder in "abc" for attack in (None, "pgd")]
    failed = replace(made("d", 0.5, "pgd"), failed="nonfinite: nan", metrics={})
    (one,) = boards([*run, made("a", 0.1, "embed"), made("d", 0.9), failed])
    assert {line.encoder: line.lacks for line in one.lines} == {"a": 0, "b": 0, "c": 0, "d": 1}
    assert [column.asked for column in one.columns] == [True, False, True]
    assert {line.encoder: line.found for line in one.lines}["d"] == "1 could not be measured"
    assert {line.encoder: line.place for line in one.lines}["d"] is None


def test_a_failed_check_is_counted(made: Make) -> None:
    findings = [Finding("budget", "fail", 1.0, "far"), Finding("floor", "warn", 1.0, "low")]
    (one,) = boards([made("a", 0.9), made("a", 0.3, "pgd", findings=findings)])
    assert [line.found for line in one.lines] == ["1 check failed, 1 warning"]


def test_the_hash_is_of_how_it_was_measured_and_not_of_whom(made: Make) -> None:
    def hash_of(encoder: str, value: float, attack: str = "pgd", **changes: Any) -> str:
        return boards([made(encoder, value), made(encoder, value, attack, **changes)])[0].hash

    same = hash_of("a", 0.5)
    assert hash_of("b", 0.7) == same
    others = [
        hash_of("a", 0.5, "pgd(steps=3)"),
        hash_of("a", 0.5, eps=0.1),
        hash_of("a", 0.5, made_by={"protocol": "x"}),
    ]
    assert len({same, *others}) == 4


def test_the_site(made: Make, tmp_path: Path, brittle: Brittle) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    for folder in ("x/demo", "y/demo", "z/<b>"):
        for result in (made(hostile + folder[0], 0.9), made(hostile + folder[0], 0.2, "pgd")):
            Store(tmp_path / folder).put(replace(result, task={**result.task}), b"")
    odd = made("late", 0.5, protocol="paper")
    Store(tmp_path / "x" / "demo").put(odd, b"")
    folders = [tmp_path / name for name in ("x/demo", "y/demo", "z/<b>")]
    code, _, err = brittle("leaderboard", *folders, "--output-dir", tmp_path / "site")
    assert code == 0, err
    site = tmp_path / "site"
    paths = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    other = next(path for path in paths if path.startswith("protocol-"))
    assert paths == {"index.html", other, "runs/demo.html", "runs/demo-2.html", "runs/b.html"}
    for name in ("index.html", other):
        text = (site / name).read_text(encoding="utf8")
        assert "<img" not in text
        assert str(tmp_path) not in text
        links = set(re.findall(r'href="([^"#]+)"', text))
        assert links <= paths
        assert "default-src 'none'" in text
    index = (site / "index.html").read_text(encoding="utf8")
    assert f'href="{other}"' in index
    assert index.count("<tr data-licence") == 3
    again = {path: (site / path).read_bytes() for path in paths}
    brittle("leaderboard", *folders, "--output-dir", site)
    assert {path: (site / path).read_bytes() for path in paths} == again


@pytest.mark.parametrize("other", ["plan.yaml", "index.html", "runs/demo/plan.yaml", "results/1.json", "runs/a.html"])
def test_a_folder_of_other_things_is_refused(made: Make, tmp_path: Path, brittle: Brittle, other: str) -> None:
    Store(tmp_path / "run").put(made("pixels", 0.9), b"")
    path = tmp_path / "site" / other
    path.parent.mkdir(parents=True)
    path.write_text("<html>mine</html>")
    code, _, err = brittle("leaderboard", tmp_path / "run", "--output-dir", tmp_path / "site")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert f"holds {'/'.join(other.split('/')[: 2 if other.startswith('runs') else 1])}, which is of no site" in err
    assert [each for each in (tmp_path / "site").rglob("*") if each.is_file()] == [path]


def test_hidden_files_may_lie_beside_a_site(made: Make, tmp_path: Path, brittle: Brittle) -> None:
    Store(tmp_path / "run").put(made("pixels", 0.9), b"")
    (tmp_path / "site" / ".git").mkdir(parents=True)
    assert brittle("leaderboard", tmp_path / "run", "--output-dir", tmp_path / "site")[0] == 0
    assert brittle("leaderboard", tmp_path / "run", "--output-dir", tmp_path / "run")[0] == 2


def test_a_folder_without_results_is_refused(tmp_path: Path, brittle: Brittle) -> None:
    code, _, err = brittle("leaderboard", tmp_path / "none", "--output-dir", tmp_path / "site")
    assert (code, "no results in" in err) == (4, True)
    assert not (tmp_path / "site").exists()
