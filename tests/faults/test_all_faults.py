"""Every fault and every threat that the page on them lists has a test that brings it about, and the other way round."""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf8")
FAULTS = [f"F{number:02d}" for number in range(1, 31)]


@cache
def _marked(mark: str) -> dict[str, list[str]]:
    """The tests that each argument of a mark stands on."""
    found = defaultdict[str, list[str]](list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for function in ast.parse(path.read_text(encoding="utf8")).body:
            if isinstance(function, ast.FunctionDef) and function.name.startswith("test_"):
                for each in function.decorator_list:
                    if isinstance(each, ast.Call) and ast.unparse(each.func) == f"pytest.mark.{mark}":
                        for argument in each.args:
                            found[ast.literal_eval(argument)].append(f"{path.name}::{function.name}")
    return found


def test_the_page_lists_these_thirty_faults() -> None:
    rows = re.findall(r"^\| (F\d\d) \| .+ \| .+ \| ([\d, ]+) \|$", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == FAULTS
    assert len(re.findall(r"^\| F", PAGE, re.MULTILINE)) == len(FAULTS)
    for name, codes in rows:
        assert set(codes.split(", ")) <= {"0", "2", "3", "4", "130", "143"}, name


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_brought_about(name: str) -> None:
    assert _marked("fault")[name]


def test_no_test_brings_about_what_the_page_does_not_list() -> None:
    assert set(_marked("fault")) == set(FAULTS)
    assert set(_marked("threat")) == set(_threats())


def _threats() -> list[str]:
    return re.findall(r"^\| (\w[\w ]*) \|", PAGE.partition("\n| threat |")[2], re.MULTILINE)


def test_each_threat_is_tried() -> None:
    assert len(_threats()) == 10
    for name in _threats():
        assert _marked("threat")[name], name
