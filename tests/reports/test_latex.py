"""The table for LaTeX: what is bold, that names cannot break it, and that it compiles where pdfLaTeX is installed."""

import io
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_results import number, two_encoders

from brittle.core import components
from brittle.core.records import Finding, Result
from brittle.reports.parts import tex
from brittle.results.leaders import leaders
from brittle.results.store import Store, read_run

IDS = np.array([f"test/{place:03}" for place in range(100)])
HOSTILE = (
    r"\input{/etc/x} $x^2$ 100% #1 a_b {} ~ & \\",
    "[2cm] starts like an option",
    "*star",
    "-- --- ?` !` << >> |",
    "\u4e2d\u6587 \U0001f600 caf\u00e9 \u0131 \u202egnitrats",
    "x" * 10_000,
    "\x1b[31mred\x1b[0m\nnew line\n\nparagraph",
    r"\end{tabular} \end{document}",
    "^^41 ^^M",
)


def latex(results: Sequence[Result], best: Callable[[Sequence[Result]], Any] = lambda _results: ()) -> str:
    return components.component("reports", "latex").function(results, best)


def called(*command: str, folder: Path) -> bytes:
    """What a program writes."""
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0 or "kpsewhich" in command, done.stdout.decode("latin1")[-1500:]
    return done.stdout


def compiled(text: str, folder: Path) -> str:
    """The text of the PDF that comes of a table pasted into a document; nothing where it cannot be read."""
    if not (
        shutil.which("pdflatex") and shutil.which("kpsewhich") and called("kpsewhich", "booktabs.sty", folder=folder)
    ):
        pytest.skip("no pdflatex with booktabs here; apt-get install texlive-latex-recommended")
    document = f"\\documentclass{{article}}\n\\usepackage{{booktabs}}\n\\begin{{document}}\n{text}\n\\end{{document}}\n"
    (folder / "table.tex").write_text(document, encoding="utf8")
    called("pdflatex", "-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape", "table.tex", folder=folder)
    return called("pdftotext", "table.pdf", "-", folder=folder).decode() if shutil.which("pdftotext") else ""


def put(folder: Path, encoder: str, right: np.ndarray, **changes: Any) -> None:
    """A result of these images in a run folder."""
    stream = io.BytesIO()
    np.savez(stream, correct=right.astype(int), images=np.ones(len(right), int), ids=IDS[: len(right)])
    made = number(float(right.mean()), encoder=encoder, made_by={"data_sha256": "d" * 64}, **changes)
    Store(folder).put(made, stream.getvalue())


def bold(text: str) -> list[str]:
    """The encoders of bold numbers of one column."""
    return re.findall(r"^(.*?) & \\textbf", text, re.MULTILINE)


def best_of(folder: Path) -> list[str]:
    results = read_run(folder)
    return sorted(bold(latex(results, leaders([folder]))))


def first(count: int) -> np.ndarray:
    return np.arange(100) < count


def test_bold_is_what_no_test_tells_from_the_best(tmp_path: Path) -> None:
    """By hand: against 80 right images 77 of the same differ by 3 one way, McNemar's p = 2 / 2^3; 65 by 15."""
    for encoder, count in (("best", 80), ("near", 77), ("far", 65)):
        put(tmp_path, encoder, first(count))
    assert best_of(tmp_path) == ["best", "near"]


def test_more_encoders_need_more_evidence(tmp_path: Path) -> None:
    """Six images one way are p = 2 / 2^6 = 0.031: enough for one pair, not for the best of three."""
    put(tmp_path, "best", first(80))
    put(tmp_path, "behind", first(74))
    assert best_of(tmp_path) == ["best"]
    put(tmp_path, "far", first(10))
    assert best_of(tmp_path) == ["behind", "best"]


def test_a_table_of_equals_has_no_winner_by_luck(tmp_path: Path) -> None:
    """Eight encoders that are right as often: some of them are not bold in 5 % of tables at most."""
    draw, wrong = np.random.default_rng(0), 0
    for place in range(40):
        for encoder in "abcdefgh":
            put(tmp_path / f"{place}", encoder, draw.random(100) < 0.5)
        wrong += len(best_of(tmp_path / f"{place}")) < 8
    assert wrong <= 4


def test_lower_is_better_where_it_is(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for encoder, error in (("low", 0.2), ("high", 0.4)):
        stream = io.BytesIO()
        rmse, ones = error + draw.normal(0, 0.01, 100), np.ones(100)
        np.savez(stream, rmse=rmse, absrel=rmse, delta1=ones, images=ones, squared=rmse**2, pixels=ones, ids=IDS)
        made = number(error, "depth", encoder=encoder, made_by={"data_sha256": "d" * 64})
        Store(tmp_path).put(made, stream.getvalue())
    assert best_of(tmp_path) == ["low"]


def test_seeds_are_tested_together(tmp_path: Path) -> None:
    for seed in (0, 1):
        put(tmp_path, "best", first(80), seed=seed)
        put(tmp_path, "far", first(60 + seed), seed=seed)
    assert best_of(tmp_path) == ["best"]


def test_what_failed_a_check_or_has_no_rival_is_not_bold(tmp_path: Path) -> None:
    put(tmp_path, "bad", first(90), findings=[Finding("budget", "fail", 1.0, "too far")])
    put(tmp_path, "alone", first(60))
    assert best_of(tmp_path) == []
    put(tmp_path, "far", first(20))
    assert best_of(tmp_path) == ["alone"]


@pytest.mark.parametrize("how", ["protocol", "samples", "data"])
def test_what_cannot_be_tested_is_not_bold_and_that_is_said(
    tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "one", first(80))
    put(tmp_path, "two", first(20), **({"protocol": "paper"} if how == "protocol" else {}))
    if how != "protocol":
        changed = number(0.2, encoder="two", made_by={"data_sha256": ("d" if how == "samples" else "e") * 64})
        Store(tmp_path).put(changed, b"")
        for path in (tmp_path / "samples").glob(f"{changed.id}*" if how == "samples" else "none"):
            path.unlink()
    assert best_of(tmp_path) == []
    words = {"protocol": "not measured alike", "samples": "no per-image samples", "data": "the data set was changed"}
    assert words[how] in capsys.readouterr().err


def test_the_command_writes_a_table_that_compiles(tmp_path: Path, brittle: Callable[..., tuple[int, str, str]]) -> None:
    for encoder, count in (("best", 80), ("a_b&50%", 40)):
        put(tmp_path / "run", encoder, first(count))
        put(tmp_path / "run", encoder, first(count // 2), attack="pgd")
    code, _, err = brittle("report", tmp_path / "run", "--format", "latex", "--output", tmp_path / "made.tex")
    assert code == 0, err
    made = (tmp_path / "made.tex").read_text(encoding="utf8")
    assert bold(made) == ["best"]
    assert r"a\_b\&50\% & 0.400 & 0.200 \\" in made
    shown = compiled(made, tmp_path)
    assert not shown or "50%\n" in shown and "0.800" in shown


def test_wide_tables_are_in_parts(tmp_path: Path) -> None:
    results = [number(0.9), *(number(place / 20, attack=f"pgd(steps={place})") for place in range(1, 13))]
    made = latex(results)
    assert made.count(r"\begin{table}") == 4
    for place in range(1, 13):
        assert made.count(f"{place / 20:.3f} ") == 1 or place == 18
    compiled(made, tmp_path)


def test_long_specs_fit_the_text_width(tmp_path: Path) -> None:
    """No box is too wide for the text of ``article``; a long encoder stands above its numbers, and a head in parts."""
    encoder, data = "timm:vit_small_patch14_dinov2.lvd142m(size=224, quant=none)", "folder:/data/where/imagenette2-320"
    attacks = ("embed(steps=100, restarts=5)", "apgd(loss=dlr, steps=100)", "square(queries=5000)", "pgd")
    results: list[Result] = []
    for task in ("classification", "segmentation", "depth"):
        results.append(number(0.9, task, encoder=encoder, dataset=data))
        for attack in attacks:
            sees = "encoder" if attack.startswith("embed") else "head"
            results.append(number(0.3, task, attack, encoder=encoder, dataset=data, sees=sees))
    made = latex(results)
    assert r"\multicolumn{5}{l}{timm:" in made
    assert r"\shortstack[r]{square( \\ queries= \\ 5000)}" in made
    compiled(made, tmp_path)
    assert "Overfull" not in (tmp_path / "table.log").read_text(encoding="latin1")


def test_no_name_can_break_it(tmp_path: Path) -> None:
    results: list[Result] = []
    for name in HOSTILE:
        results += [number(0.9, encoder=name), number(0.1, attack="pgd", encoder=name)]
        results.append(number(0.5, encoder=name, dataset=name, failed=name))
    for made in (latex(two_encoders()), latex(results)):
        compiled(made, tmp_path)
        lines = [line for line in made.splitlines() if not line.startswith("%")]
        assert sum("tabular" in line and "textbackslash" not in line for line in lines) % 2 == 0
        assert all(line.isprintable() for line in made.splitlines())


def test_what_is_escaped_is_printed_as_it_was(tmp_path: Path) -> None:
    shown = compiled("\n\n".join(rf"\noindent {tex.name(name)}" for name in HOSTILE), tmp_path)
    squeezed = "".join(shown.split()).replace("\u02c6", "^").replace("\u02dc", "~").replace("\u2018", "`")
    for name in HOSTILE[:4] + HOSTILE[-2:]:
        wanted = "".join(name.split()).replace("_", "")  # which is drawn as a line
        assert not shown or wanted in squeezed, name
    for part in ("\\u4e2d\\u6587", "\\U0001f600caf", "\\u0131", "\\x1b[31mred"):
        assert not shown or part in squeezed, part
