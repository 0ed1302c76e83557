"""The pages of docs that stand for themselves: their commands run, on less, and what they list is whole."""

import json
import re
import runpy
import shlex
from collections.abc import Callable
from importlib.resources import files as resources
from pathlib import Path

import pytest

from brittle.core import components
from brittle.core.errors import BrittleError, CellError, MissingError, UsageError
from brittle.core.shared import KINDS
from brittle.planning.plan import Plan
from brittle.results.store import FOLDERS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("runs", "compare", "harden", "failed-checks")
TINY = "scenes(train=64, val=32, test=32, size=8)"
SMALLER = {
    "embedded:dino": "pixels(size=8)",
    "embedded:robust": "pixels(size=16)",
    "embedded:deacl": "pixels(size=24)",
    "[scenes]": f'["{TINY}"]',
    "scenes ": f"{TINY} ",
    "steps=2400": "steps=2 --batch-size 4",
    "limit 16": "limit 4",
    "limit: 16": "limit: 4",
    "steps=40": "steps=4",
}
TUNED = {"pixels(size=8)": "embedded:random", "downstream": "noise"}  # pixels have no weights, and these are larger


def _smaller(text: str, page: str) -> str:
    for full, small in SMALLER.items():
        text = text.replace(full, small)
    for full, small in TUNED.items() if page == "harden" else ():
        text = text.replace(full, small)
    return text


def _text(page: str) -> str:
    return (DOCS / f"{page}.md").read_text(encoding="utf8")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("page", PAGES)
def test_its_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_docs: Callable[..., int], page: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for plan in re.findall(r"```yaml\n# (\S+\n.*?)```", _text(page), flags=re.DOTALL):
        name, text = plan.split("\n", 1)
        (tmp_path / name).write_text(_smaller(text, page))

    def smaller(line: str) -> list[str]:
        return shlex.split(
            re.sub(r"(?<=[ ,])(\w+\([^()]*\))", r"'\1'", _smaller(line, page))
        )  # specs as a shell takes them

    assert run_docs(page, smaller)


def test_every_key_of_a_plan_is_explained() -> None:
    table = _text("runs").partition("| key |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)))) == set(
        Plan.model_fields
    )


def test_the_schema_of_plans_is_that_of_the_code() -> None:
    stored = json.loads((resources("brittle") / "assets/plan.schema.json").read_text(encoding="utf8"))
    assert stored == json.loads(json.dumps(Plan.model_json_schema()))


def test_every_folder_of_a_run_is_explained() -> None:
    table = _text("runs").partition("| in it |")[2].partition("\n\n")[0]
    assert set(FOLDERS) <= set(re.findall(r"`(\w+)/", table))


def test_every_kind_of_what_runs_share_is_explained() -> None:
    rows = _text("runs").partition("| folder |")[2].partition("\n\n")[0]
    said = dict(re.findall(r"^\| `(\w+)` .* (yes|no) \|$", rows, re.MULTILINE))
    assert said == {name: "yes" if kind.again else "no" for name, kind in KINDS.items()}


def test_every_exit_code_is_explained() -> None:
    codes = set(re.findall(r"^\| (\d+)", _text("runs"), re.MULTILINE))
    assert {str(kind.exit_code) for kind in (UsageError, CellError, MissingError)} <= codes
    assert BrittleError.exit_code == 1  # of none that is raised


def test_every_check_has_its_paragraph() -> None:
    assert set(components.names("checks")) <= set(re.findall(r"`(\w+)`", _text("failed-checks")))


@pytest.mark.usefixtures("quick")
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = json.loads((DOCS / "example.ipynb").read_text(encoding="utf8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    data = TINY.replace("size=8", "size=16")  # as the last encoder takes an image as it is
    for full, small in (*SMALLER.items(), ('"scenes"', f'"{data}"'), ("limit=64", "limit=4"), ("%matplotlib", "#")):
        code = code.replace(full, small)
    (tmp_path / "example.py").write_text(code, encoding="utf8")
    monkeypatch.chdir(tmp_path)
    made = runpy.run_path("example.py")
    assert len(made["results"]) == 15
    assert "eps-linf" in made["figures"]
    assert made["attacked"].shape == made["image"].shape
