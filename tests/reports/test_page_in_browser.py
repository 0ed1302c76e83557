"""The page in a headless Chromium: nothing is loaded, it sorts, filters, opens and copies, fits every width, and can be
used without a mouse or without seeing it."""

import csv
import io
import json
import sys
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser
from made_results import number, pictures, spreads, two_encoders

from brittle.core import components
from brittle.core.records import Finding

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and sys.platform == "linux"), reason="no chromium here; apt-get install chromium"
)
WIDTHS = (375, 768, 1440, 1920)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything on it, one name of ten thousand letters, and a number of which a check failed."""
    source = {"attack": "pgd", "encoder": "one", "task": "classification", "eps": 8 / 255, "norm": "linf"}
    bad = number(0.3, "depth", "noise", encoder="x" * 10_000, findings=[Finding("budget", "fail", 1.0, "too far")])
    stored = number(0.3, attack="stored:runs/x/0", encoder="two", made_by={"attack": source})
    ours = number(0.93, encoder="file:w/dinov2_vits14_pretrain.pth", dataset="cifar10:data")
    path = tmp_path_factory.mktemp("page") / "report.html"
    kinds = {"classification": "label", "segmentation": "mask", "depth": "metres"}
    drawn = {each.id: pictures(kinds[each.cell.task]) for each in two_encoders() if each.cell.attack}
    made = components.component("reports", "html").function
    text = made([*two_encoders(), bad, stored, ours], lambda name: drawn.get(name, ()), spreads(two_encoders()))
    path.write_text(text, encoding="utf8")
    return path


def column(tab: Browser, place: int) -> list[str]:
    """The texts of a column, of the rows that are seen."""
    script = f"[...document.querySelectorAll('#grid tbody tr:not([hidden])')].map(row => row.cells[{place}].innerText)"
    return [text.split("\n")[0] for text in tab.evaluate(script)]


def click(tab: Browser, selector: str, place: int = 0) -> None:
    tab.evaluate(f"document.querySelectorAll({json.dumps(selector)})[{place}].click()")


def fragment(tab: Browser) -> str:
    return tab.evaluate("decodeURIComponent(location.hash)")


def choose(tab: Browser, selector: str, value: str, event: str = "change") -> None:
    tab.evaluate(
        f"(box => {{ box.value = {json.dumps(value)}; box.dispatchEvent(new Event('{event}', {{bubbles: true}})) }})"
        f"(document.querySelector({json.dumps(selector)}))"
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_no_width_overflows(tab: Browser, width: int) -> None:
    tab.size(width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    wide = (
        "[...document.querySelectorAll('main *, footer, header')].filter(each => !each.closest('.scroll, .unseen, nav, "
        "svg') && each.getBoundingClientRect().right > innerWidth + 1).map(each => each.outerHTML.slice(0, 120))"
    )
    assert tab.evaluate(wide) == []
    click(tab, "#grid .number")
    assert tab.evaluate("document.querySelector('dialog').getBoundingClientRect().right") <= width


def test_headings_sort(tab: Browser) -> None:
    before = column(tab, 4)
    click(tab, "#grid .sort", 4)
    up = column(tab, 4)
    click(tab, "#grid .sort", 4)
    down = column(tab, 4)
    numbers = [float(text) for text in up if text != "–"]
    assert numbers == sorted(numbers)
    assert [float(text) for text in down if text != "–"] == numbers[::-1]
    assert up[-1] == down[-1] == "–", "what was not measured stands last either way"
    assert tab.evaluate("document.querySelectorAll('#grid th')[4].getAttribute('aria-sort')") == "descending"
    assert fragment(tab) == "#sort=4.down"
    click(tab, "#grid .sort", 4)
    assert column(tab, 4) == before
    click(tab, "#grid .sort", 2)
    assert column(tab, 2) == sorted(column(tab, 2))


def test_rows_and_columns_are_filtered_and_the_view_is_kept_in_the_address(tab: Browser, page: Path) -> None:
    choose(tab, "#task", "3")
    assert set(column(tab, 0)) == {"depth"}
    choose(tab, "#find", "TWO", "input")
    assert column(tab, 2) == ["two"]
    assert tab.evaluate("document.getElementById('count').textContent") == "1 of 8 rows"
    heads = "[...document.querySelectorAll('#grid thead th:not([hidden])')].length"
    every = tab.evaluate(heads)
    choose(tab, "#budget", "1")
    assert tab.evaluate(heads) < every
    kept = fragment(tab)
    assert kept == "#find=TWO&task=depth&budget=linf+4/255"
    tab.open(page, kept)
    assert (column(tab, 0), column(tab, 2)) == (["depth"], ["two"])
    click(tab, "#reset")
    assert len(column(tab, 0)) == 8
    assert fragment(tab) == ""


def test_a_number_opens_by_key_says_where_it_is_from_and_is_in_the_address(tab: Browser, page: Path) -> None:
    tab.evaluate("document.querySelector('#grid .number').focus()")
    tab.press("Enter")
    assert tab.evaluate("document.querySelector('dialog').open")
    said = tab.evaluate("document.querySelector('dialog').innerText")
    for part in ("classification: clean", "0.900 [0.850, 0.950]", "1f1f", "Apache-2.0", "1.00 GiB"):
        assert part in said, part
    address = fragment(tab)
    assert address.startswith("#number=")
    tab.press("Escape")
    assert not tab.evaluate("document.querySelector('dialog').open")
    assert fragment(tab) == ""
    assert tab.evaluate("document.activeElement.className").startswith("number"), "the focus is where it was"
    tab.open(page, address)
    assert tab.evaluate("document.querySelector('dialog').open")
    assert tab.evaluate("document.querySelector('dialog').innerText") == said
    tab.press("Escape")
    click(tab, "details.fail .open")
    assert "too far" in tab.evaluate("document.querySelector('dialog .checks').innerText")
    tab.press("Escape")
    tab.evaluate("document.querySelector('#figure-eps-linf [data-number]').dispatchEvent(new MouseEvent('click', "
                 "{bubbles: true}))")  # fmt: skip
    assert tab.evaluate("document.querySelector('dialog').open"), "a mark in a figure opens its number"
    for key in ("images", "classes"):
        tab.press("Escape")
        click_mark = "[data-number]').dispatchEvent(new MouseEvent('click', {bubbles: true}))"
        tab.evaluate(f"document.querySelector('#figure-{key} {click_mark}")
        assert tab.evaluate("document.querySelector('dialog').open"), key


def test_what_is_seen_is_copied_as_csv(tab: Browser) -> None:
    tab.evaluate("navigator.clipboard.writeText = text => { window.copied = text; return Promise.resolve() }")
    choose(tab, "#task", "3")
    click(tab, "#copy")
    rows = list(csv.DictReader(io.StringIO(tab.evaluate("window.copied"))))
    assert [row["encoder"] for row in rows] == ["one", "two", "x" * 10_000]
    assert float(rows[0]["clean"]) == 0.4
    assert float(rows[0]["clean low"]) == pytest.approx(0.35)
    assert rows[2]["clean"] == ""
    attacked = [each for each in two_encoders() if each.cell.task == "depth" and each.cell.attack == "pgd"]
    assert float(rows[0]["downstream 8/255"]) == attacked[1].metrics["rmse"], "all digits"


def test_the_theme_follows_the_system_and_the_switch(tab: Browser, page: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(ground)
    tab.dark(True)
    dark = tab.evaluate(ground)
    assert light != dark
    choose(tab, "#theme", "light")
    assert tab.evaluate(ground) == light
    assert fragment(tab) == "#theme=light"
    tab.dark(False)
    tab.open(page, "#theme=dark")
    assert tab.evaluate(ground) == dark
    assert tab.evaluate("document.getElementById('theme').value") == "dark"


def test_the_slider_moves_from_clean_to_attacked(tab: Browser) -> None:
    """By key and by a pointer on a picture; all pairs of one image together, and no other image."""
    pairs = (
        "[...document.querySelectorAll('.shot')].map(shot => getComputedStyle(shot.querySelector('.after')).clipPath)"
    )
    assert set(tab.evaluate(pairs)) == {"inset(0px 0px 0px 50%)"}
    widths = "[...document.querySelectorAll('#gallery img')].map(each => each.naturalWidth)"
    assert set(tab.evaluate(widths)) == {8}, "the policy lets them in"
    choose(tab, ".shot input", "80", "input")
    after = tab.evaluate(pairs)
    assert after[0] == "inset(0px 0px 0px 80%)"
    assert set(after[1:]) == {"inset(0px 0px 0px 50%)"}
    said = tab.evaluate("document.querySelector('.shot input').getAttribute('aria-valuetext')")
    assert said == "80 % clean, 20 % attacked"
    tab.evaluate(
        "(pair => { const { left, width } = pair.getBoundingClientRect(); pair.dispatchEvent(new PointerEvent("
        "'pointermove', { bubbles: true, buttons: 1, clientX: left + width / 4 })) })"
        "(document.querySelectorAll('.shot .pair')[1])"
    )
    assert tab.evaluate("document.querySelector('.shot input').value") == "25"
    assert tab.evaluate(pairs)[0] == "inset(0px 0px 0px 25%)"
    click(tab, "#gallery h3 .open")
    assert tab.evaluate("document.querySelector('dialog').open"), "a title opens its number"


@pytest.mark.threat("html")
def test_nothing_foreign_runs_or_loads(tab: Browser, page: Path) -> None:
    """The policy is in force: a script, a style and an image that are put into the page do nothing."""
    tab.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.bad = 1\"><p style=\"top: 0\">');"
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.bad = 2'}));"
        "new Promise(done => setTimeout(done, 50))"
    )
    assert tab.evaluate("window.bad") is None
    assert list(tab.requests.values()) == [page.as_uri()]
    assert any("Content Security Policy" in each for each in tab.log)
    tab.log.clear()


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(tab: Browser, dark: bool) -> None:
    """axe-core's rules, on the page and with a number open."""
    pytest.importorskip("axe_core_python", reason="no axe-core here; pip install axe-core-python")
    tab.dark(dark)
    tab.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    tab.evaluate((resources("axe_core_python") / "axe.min.js").read_text(encoding="utf8") + "; 0")
    for opened in (False, True):
        if opened:
            click(tab, "#grid .number", 1)
        found: list[dict[str, Any]] = tab.evaluate("axe.run().then(done => done.violations)")
        serious = [
            (each["id"], [node["html"][:200] for node in each["nodes"][:3]])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == []
