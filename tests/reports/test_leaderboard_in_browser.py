"""The leaderboard in a headless Chromium: nothing is loaded, it sorts, filters and copies, and complete rows alone are
shown at first."""

import csv
import io
import sys
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser
from made_results import number, two_encoders

from brittle.results.site import site
from brittle.results.store import Store

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and sys.platform == "linux"), reason="no chromium here; apt-get install chromium"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of two runs: three encoders, one of them incomplete, and one of another protocol."""
    folder = tmp_path_factory.mktemp("board")
    more = [number(0.7, encoder="x" * 10_000, made_by={"weights": {"licence": "MIT"}}), number(0.5, protocol="paper")]
    for name, results in (("mine", two_encoders()), ("yours", more)):
        for result in results:
            Store(folder / name).put(result, b"")
    for name, text in site([folder / "mine", folder / "yours"]).items():
        path = folder / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf8")
    return folder / "site" / "index.html"


def encoders(tab: Browser) -> list[str]:
    script = "[...document.querySelectorAll('#grid tbody tr:not([hidden]) th .name')].map(each => each.textContent)"
    return [name[:8] for name in tab.evaluate(script)]


def heads(tab: Browser) -> list[str]:
    return tab.evaluate(
        "[...document.querySelectorAll('#grid thead th:not([hidden])')].map(each => each.dataset.name || '')"
    )


def click(tab: Browser, selector: str, place: int = 0) -> None:
    tab.evaluate(f"document.querySelectorAll('{selector}')[{place}].click()")


def choose(tab: Browser, key: str, value: str) -> None:
    tab.evaluate(f"(box => {{ box.value = '{value}'; box.dispatchEvent(new Event('change')) }})({key})")


def test_incomplete_rows_are_shown_when_asked_for(tab: Browser, page: Path) -> None:
    assert sorted(encoders(tab)) == ["one", "two"]
    assert tab.evaluate("document.getElementById('count').textContent") == "2 of 3 rows"
    click(tab, "#every")
    assert "xxxxxxxx" in encoders(tab)
    assert tab.evaluate("location.hash") == "#every=1"
    tab.open(page, "#every=1")
    assert len(encoders(tab)) == 3
    click(tab, "#reset")
    assert sorted(encoders(tab)) == ["one", "two"]


def test_columns_are_filtered_by_task_and_budget(tab: Browser) -> None:
    choose(tab, "task", "2")
    tasks = {name.split()[0] for name in heads(tab) if name}
    assert len(tasks) == 1
    every = len(heads(tab))
    choose(tab, "budget", "1")
    assert 0 < len(heads(tab)) < every


def test_rows_are_filtered_by_licence_and_headings_sort(tab: Browser) -> None:
    click(tab, "#every")
    choose(tab, "licence", "2")
    assert encoders(tab) == ["xxxxxxxx"]
    click(tab, "#reset")
    click(tab, "#grid .sort", 1)
    up = encoders(tab)
    click(tab, "#grid .sort", 1)
    assert encoders(tab) == up[::-1]


def test_what_is_seen_is_copied(tab: Browser) -> None:
    tab.evaluate("navigator.clipboard.writeText = text => { window.copied = text; return Promise.resolve() }")
    click(tab, "#copy")
    rows = list(csv.reader(io.StringIO(tab.evaluate("window.copied"))))
    assert len(rows) == 3
    assert {len(row) for row in rows} == {len(rows[0])}
    place = rows[0].index("classification scenes clean")
    assert {row[place] for row in rows[1:]} == {"0.9"}
    assert rows[0][place + 1 : place + 3] == ["classification scenes clean low", "classification scenes clean high"]


def test_a_number_opens_and_a_run_is_a_file_beside_it(tab: Browser, page: Path) -> None:
    click(tab, "#grid .number")
    assert "weights sha256" in tab.evaluate("document.querySelector('dialog').innerText")
    tab.press("Escape")
    links = tab.evaluate("[...document.querySelectorAll('main a')].map(each => each.getAttribute('href'))")
    assert {"runs/mine.html", "runs/yours.html"} & set(links)
    assert all((page.parent / link).is_file() for link in links if not link.startswith("#"))


@pytest.mark.parametrize(("width", "dark"), [(375, True), (1440, False)])
def test_it_fits_and_can_be_read_by_everybody(tab: Browser, width: int, dark: bool) -> None:
    tab.size(width)
    tab.dark(dark)
    click(tab, "#every")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    axe = pytest.importorskip("axe_core_python")
    script = (resources(axe) / "axe.min.js").read_text(encoding="utf8")
    tab.evaluate(f"{script}; true")
    found: list[dict[str, Any]] = tab.evaluate("axe.run().then(each => each.violations)")
    assert [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")] == []
