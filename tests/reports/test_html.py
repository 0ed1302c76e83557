"""The page: what it says of results, that its charts show their numbers, and that no name can break it."""

import base64
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from made_results import TASKS, number, pictures, spreads, two_encoders

from brittle.core import components
from brittle.core.pictures import Picture
from brittle.core.records import Finding, Result
from brittle.core.text import shortened
from brittle.evaluation import drawing
from brittle.reports.parts import answer, charts, kinds, layout, shots, svg
from brittle.reports.parts.distributions import Spreads, nothing
from brittle.reports.parts.numbers import Numbers
from brittle.results import reporting
from brittle.results.store import Store

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "{{7*7}}{% for x in y %}",
    "a\u202egnitrats\u202c",
    "x" * 10_000,
    "\x1b[31mred\x1b[0m\x9b2J\ud800",
    "\"' onclick='alert(1)' data-x=\"",
    "]]><!-- <style>*{display:none}</style>",
)


@pytest.fixture
def full() -> list[Result]:
    return two_encoders()


KINDS = {"classification": "label", "segmentation": "mask", "depth": "metres"}


def page(
    results: Sequence[Result],
    gallery: Callable[[str], Sequence[Picture]] = lambda _name: (),
    spread: Spreads = nothing,
) -> str:
    return components.component("reports", "html").function(results, gallery, spread)


def galleries(results: Sequence[Result], name: str = "ring") -> Callable[[str], Sequence[Picture]]:
    """Made-up pictures of every attacked number, by what its task predicts."""
    kinds = {each.id: KINDS[each.cell.task] for each in results if each.cell.attack}
    return lambda place: pictures(kinds[place], name) if place in kinds else []


class _Elements(HTMLParser):
    """The elements of a page, its text, and the attributes of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def figures(text: str) -> dict[str, list[ElementTree.Element]]:
    """The charts of each figure of a page, by its key."""
    found = re.findall(r'<figure class="drawing" id="figure-([\w-]+)">(.*?)</figure>', text, re.DOTALL)
    return {
        key: [ElementTree.fromstring(chart) for chart in re.findall(r"<svg viewBox=\"0 0.*?</svg>", inside, re.DOTALL)]
        for key, inside in found
    }


def origins(text: str) -> dict[str, dict[str, object]]:
    """What stands behind each number, by its result's id: groups of labelled facts, and findings."""
    data = json.loads(text.partition('id="origins">')[2].partition("</script>")[0])
    words = data["words"]
    return {
        each["id"]: {
            **{words[name]: {words[a]: words[b] for a, b in facts} for name, facts in each["groups"]},
            "findings": [[words[part] for part in finding] for finding in each["findings"]],
        }
        for each in data["numbers"]
    }


# --- the answer -------------------------------------------------------------------------------------------------------


def lead(results: Sequence[Result]) -> str:
    _, rows = layout.layout(results)
    main = answer.main_budget(results)
    return answer.lead(answer.scores(rows, main), main).replace("\xa0", " ")


def sentences(results: Sequence[Result]) -> list[str]:
    _, rows = layout.layout(results)
    main = answer.main_budget(results)
    return [answer.sentence(score, main) for score in answer.scores(rows, main)]


def test_the_answer_is_the_share_that_the_strongest_attack_leaves() -> None:
    """By hand: .2 of .8 is 25 %; .5 m under .2 m is 2.5 times."""
    some = [number(0.8), number(0.6, attack="embed"), number(0.2, attack="pgd")]
    assert (
        lead(some) == "Under the strongest attack tried within linf 16/255, classification keeps 25 % of its accuracy."
    )
    assert sentences(some) == [
        "accuracy falls from 0.800 [0.750, 0.850] to 0.200 [0.150, 0.250] under pgd",
    ]
    lower = [number(0.2, "depth"), number(0.5, "depth", "pgd"), number(0.4, "depth", "embed")]
    assert lead(lower).endswith(" depth has 2.5 times the clean rmse.")
    assert lead([*some, *lower]).endswith(" of its accuracy; depth has 2.5 times the clean rmse.")
    assert sentences(lower) == ["rmse rises from 0.200 [0.150, 0.250] to 0.500 [0.450, 0.550] under pgd"]


def test_the_answer_for_several_encoders_goes_from_the_least_to_the_most_that_is_kept() -> None:
    some = [number(0.8, encoder=name) for name in "abc"]
    some += [number(value, attack="pgd", encoder=name) for name, value in zip("abc", (0.4, 0.004, 0.6))]
    assert lead(some).endswith("classification keeps under 1 % (b) to 75 % (c) of its accuracy.")
    deep = [number(0.5, "depth", encoder=name) for name in "ab"]
    deep += [number(value, "depth", "pgd", encoder=name) for name, value in zip("ab", (0.6, 1.5))]
    assert lead(deep).endswith("depth has 3.0 times (b) to 1.2 times (a) the clean rmse.")
    alike = [*some[:2], *(number(0.4, attack="pgd", encoder=name) for name in "ab")]
    assert lead(alike).endswith("classification keeps 50 % (all 2 encoders) of its accuracy.")


@pytest.mark.parametrize(
    ("names", "called"),
    [
        (["embedded:dino", "pixels", "a package that is gone:x"], "encoders"),
        (["embedded:dino", "model:embedded:unet", "pixels"], "models"),
    ],
)
def test_whole_networks_are_not_called_encoders(names: list[str], called: str) -> None:
    some = [
        number(value, attack=attack, encoder=name) for name in names for value, attack in ((0.8, None), (0.4, "pgd"))
    ]
    assert lead(some).endswith(f"keeps 50 % (all 3 {called}) of its accuracy.")
    shown = page(some)
    assert f"How brittle are 3 {called}?" in shown
    assert re.search(rf"<dt>{called}</dt>\s*<dd>3<", shown)


def test_an_attack_that_does_nothing_or_helps_is_not_said_to_harm() -> None:
    assert sentences([number(0.5), number(0.5, attack="pgd")]) == ["accuracy stays at 0.500 [0.450, 0.550] under pgd"]
    (helped,) = sentences([number(0.5), number(0.6, attack="pgd")])
    assert helped.startswith("accuracy rises from 0.500")
    assert helped.endswith("under pgd: no attack made it worse")
    (less,) = sentences([number(0.5, "depth"), number(0.4, "depth", "pgd")])
    assert less.startswith("rmse falls from 0.500")
    assert less.endswith("under pgd: no attack made it worse")


def test_numbers_of_which_a_check_failed_are_not_the_answer() -> None:
    bad = (Finding("budget", "fail", 1.0, "too far"),)
    some = [number(0.8), number(0.4, attack="embed"), number(0.1, attack="pgd", findings=bad)]
    assert "keeps 50 %" in lead(some)
    assert "under embed" in sentences(some)[0]
    alone = [some[0], some[2]]
    assert "nothing to compare" in lead(alone)
    assert sentences(alone)[0].endswith("under pgd (a check failed: not to be trusted)")
    assert "A check failed on 1 number" in page(some)


def test_scores_that_cannot_be_compared_are_not() -> None:
    facts = {**number(0.5).task, "unlike": "of two kinds"}
    some = [replace(number(0.5), task=facts), replace(number(0.2, attack="pgd"), task=facts)]
    assert "nothing to compare" in lead(some)
    assert "falls" not in sentences(some)[0]
    assert "trade-off" not in figures(page(some))


def test_a_row_that_has_a_smaller_budget_only_says_so_and_stays_out_of_the_answer() -> None:
    some = [number(0.8, encoder=name) for name in "ab"]
    some += [number(0.4, attack="pgd", encoder="a"), number(0.1, attack="pgd", encoder="b", eps=2 / 255)]
    assert lead(some).endswith("linf 16/255, classification keeps 50 % of its accuracy.")
    assert sentences(some)[1].endswith("under pgd within linf 2/255")


def test_an_attack_on_stored_images_is_named_by_what_made_them() -> None:
    source = {"attack": "pgd(steps=3)", "encoder": "other", "task": "depth", "eps": 16 / 255, "norm": "linf"}
    stored = number(0.1, attack="stored:runs/x/0", made_by={"attack": source})
    assert sentences([number(0.8), stored])[0].endswith("under pgd(steps=3) made for other in depth")


# --- what there is ----------------------------------------------------------------------------------------------------


def test_a_number_has_all_that_is_known_of_it_behind_it(full: list[Result]) -> None:
    found = origins(page(full))
    assert set(found) == {result.id for result in full}
    result = replace(
        full[1],
        made_by={
            **full[1].made_by,
            "settings": {"attacks": "embed(steps=20)", "encoders": "one(size=8)"},
            "versions": {"torch": "9.9"},
            "protocol": "shorter edge 64",
            "data_licence": "CC0",
            "unheard_of": [1, 2],
        },
    )
    (known,) = [each for name, each in origins(page([full[0], result])).items() if name == result.id]
    text = json.dumps(known)
    for part in (
        "embed(steps=20)",
        "one(size=8)",
        "torch 9.9",
        "shorter edge 64",
        "CC0",
        "1f" * 32,
        "2e" * 32,
        "[1, 2]",
    ):
        assert part in text.replace('\\"', '"'), part
    assert known["score"]["accuracy"].startswith(f"{full[1].metrics['accuracy']:.6g} [")
    assert known["attack"]["budget"] == "linf 4/255"
    assert known["cost"]["peak memory"] == "1.00 GiB"
    assert known["findings"][0][:3] == ["ok", "budget", "largest violation 2.8e-08"]


def test_the_table_is_the_papers_with_every_number(full: list[Result]) -> None:
    text = page(full)
    table = text.partition('<table id="grid"')[2].partition("</table>")[0]
    assert table.count("<tr ") == 6
    heads = re.findall(r'<th scope="col".*?<button[^>]*>(.*?)</button>', table, re.DOTALL)
    names = [re.sub("<[^>]+>", "", head).strip() for head in heads]
    assert names[:4] == ["task", "data", "encoder", "metric"]
    assert names[4:] == [
        "clean",
        "embed 4/255",
        "embed 8/255",
        "downstream 4/255",
        "downstream 8/255",
        "transfer ratio",
    ]
    values = {float(value) for value in re.findall(r'data-value="([\d.]+)" data-low', table)}
    assert values == {next(iter(result.metrics.values())) for result in full}
    assert text.count("transfer ratio</dt>") == 1, "and what it means"


def test_each_figure_is_there_when_its_data_are_and_not_otherwise(full: list[Result]) -> None:
    assert set(figures(page(full))) == {"answer", "eps-linf", "trade-off", "tasks"}
    one_eps = [each for each in full if each.cell.eps in (None, 8 / 255)]
    assert set(figures(page(one_eps))) == {"answer", "trade-off", "tasks"}
    one_encoder = [each for each in full if each.cell.encoder == "one"]
    assert set(figures(page(one_encoder))) == {"answer", "eps-linf", "tasks"}
    one_task = [each for each in full if each.cell.task == "depth"]
    assert set(figures(page(one_task))) == {"answer", "eps-linf", "trade-off"}
    clean = [each for each in full if not each.cell.attack]
    assert set(figures(page(clean))) == {"answer"}
    kept = [
        replace(each, made_by={"weights": {"history": {"method": "m", "step": step, "epoch": step / 10}}})
        for step in (10, 20)
        for each in (number(0.9, encoder=f"file:runs/{step}.safetensors"),)
    ]
    assert "history" in figures(page(kept))
    followed = replace(full[1], curve=[{"step": step, "accuracy": 1 - step / 4, "distance": 0.0} for step in range(3)])
    (steps,) = figures(page([full[0], followed]))["steps"]
    assert [round(read_axis(steps, upright=True)(y), 2) for _, y in places(steps)] == [1.0, 0.75, 0.5]
    for absent in ('id="transfer"', 'id="paper"'):
        assert absent not in page(full)


def test_transfer_matrices_and_the_papers_rows_are_there_when_their_data_are() -> None:
    source = {"attack": "pgd", "encoder": "one", "task": "classification", "eps": 16 / 255, "norm": "linf"}
    stored = number(0.3, attack="stored:runs/x/0", encoder="two", made_by={"attack": source})
    text = page([number(0.9, encoder="two"), stored, number(0.2, attack="pgd", encoder="two")])
    matrix = text.partition('id="transfer"')[2].partition("</section>")[0]
    assert "0.300" in matrix
    assert "one classification" in matrix
    assert "stored" not in text.partition('<table id="grid"')[2].partition("</table>")[0]
    ours = number(0.93, encoder="file:w/dinov2_vits14_pretrain.pth", dataset="cifar10:data")
    table = page([ours]).partition('id="paper"')[2].partition("</section>")[0]
    assert "+" in table or "-0.010" in table
    assert "0.94" in table
    assert ">yes<" in table


# --- charts -----------------------------------------------------------------------------------------------------------


def read_axis(chart: ElementTree.Element, upright: bool) -> Callable[[float], float]:
    """From a place on an axis to its value, as a reader gets it: from the labels."""
    places: list[tuple[float, float]] = []
    for text in chart.iter("text"):
        x, y, label = float(text.get("x", "")), float(text.get("y", "")), text.text or ""
        left = text.get("text-anchor") == "end" and x < svg.LEFT
        if text.get("class") == "tick" and left == upright:
            value = eval_fraction(label)
            places.append((y - 4 if upright else x, value))
    (a, first), (b, last) = places[0], places[-1]
    return lambda place: first + (place - a) / (b - a) * (last - first)


def eval_fraction(label: str) -> float:
    top, _, bottom = label.partition("/")
    return float(top) / float(bottom or 1)


def places(chart: ElementTree.Element) -> list[tuple[float, float]]:
    """Where the marks of a chart are."""
    found = [
        re.findall(r"-?[\d.]+", each.get("transform", "")) for each in chart.iter("path") if each.get("data-number")
    ]
    return [(float(x), float(y)) for x, y in found]


def drawn(chart: ElementTree.Element) -> dict[str, tuple[float, float]]:
    """The same by the ids of their results."""
    names = [name for each in chart.iter("path") if (name := each.get("data-number"))]
    assert len(set(names)) == len(names)
    return dict(zip(names, places(chart)))


def test_curves_show_the_strongest_number_at_each_eps(full: list[Result]) -> None:
    by_id = {result.id: result for result in full}
    for chart in figures(page(full))["eps-linf"]:
        described = chart.findtext("desc") or ""
        assert described.count("eps (linf) 4/255: ") == 2, "one for each encoder, for those who do not see it"
        x_of, y_of = read_axis(chart, upright=False), read_axis(chart, upright=True)
        marks = drawn(chart)
        assert len(marks) == 6, "two encoders at 0, 4/255 and 8/255"
        for name, (x, y) in marks.items():
            result = by_id[name]
            value = answer.value(result)
            assert x_of(x) == pytest.approx(result.cell.eps or 0, abs=3e-4)
            assert y_of(y) == pytest.approx(value, abs=0.01)
            rivals = [
                answer.value(other)
                for other in full
                if replace(other.cell, attack=None) == replace(result.cell, attack=None)
            ]
            assert value == (min(rivals) if result.task["higher_is_better"] else max(rivals))


def test_the_figure_of_the_answer_shows_clean_and_attacked(full: list[Result]) -> None:
    by_id = {result.id: result for result in full}
    for chart in figures(page(full))["answer"]:
        ticks = [each for each in chart.iter("text") if each.get("class") == "tick"]
        (a, b) = ((float(each.get("x", "")), float(each.text or "")) for each in (ticks[0], ticks[-1]))
        marks = drawn(chart)
        assert len(marks) == 4
        for name, (x, _) in marks.items():
            shown = a[1] + (x - a[0]) / (b[0] - a[0]) * (b[1] - a[1])
            assert shown == pytest.approx(answer.value(by_id[name]), abs=0.01)


def test_the_scatter_shows_clean_against_attacked_and_its_front(full: list[Result]) -> None:
    by_id = {result.id: result for result in full}
    for chart in figures(page(full))["trade-off"]:
        y_of = read_axis(chart, upright=True)
        for name, (_, y) in drawn(chart).items():
            assert y_of(y) == pytest.approx(answer.value(by_id[name]), abs=0.01)
        assert [each for each in chart.iter("path") if each.get("class") == "front"]

    def point(name: str, x: float, y: float) -> kinds.Point:
        nan = float("nan")
        return kinds.Point(name, kinds.Measured(x, nan, nan, "", ""), kinds.Measured(y, nan, nan, "", ""), 0)

    points = [point("a", 0.9, 0.1), point("b", 0.5, 0.5), point("c", 0.5, 0.4), point("d", 0.4, 0.2)]
    assert [each.name for each in charts.front(points, higher=True)] == ["a", "b"]
    assert [each.name for each in charts.front(points, higher=False)] == ["a", "d"]


@pytest.mark.parametrize("values", [[0.2, 0.9], [0.0], [1.4, 0.3], [-3.0, -1.0], [250.0], [], [float("nan")]])
def test_an_axis_holds_its_values_and_has_round_labels(values: list[float]) -> None:
    low, high = kinds.domain(values, higher=True)
    assert low < high
    assert all(low <= value <= high for value in values if value == value)
    labels = kinds.ticks(low, high)
    assert 2 <= len(labels) <= 8
    assert all(low - 1e-9 <= value <= high + 1e-9 and float(text) == pytest.approx(value) for value, text in labels)


# --- the gallery ------------------------------------------------------------------------------------------------------


def test_the_gallery_says_in_words_what_became_of_each_image(full: list[Result]) -> None:
    text = page(full, galleries(full))
    (section,) = re.findall('<section id="gallery">(.*?)</section>', text, re.DOTALL)
    for said in ("ring 98 % → cube 71 %", "wrong pixels 4 % → 63 %", "error 0.31 m → 1.24 m", "truth: ring", "×15"):
        assert said in section, said
    assert [role for role in ("most damaged", "typical", "least damaged") if f"<small>{role}; " in section] == list(
        shots.ROLES.values()
    )
    assert '<path d="M0 0h1v1H0z" fill="#0072b2"/></svg><span class="name">ring</span>' in section
    assert "<span>0.5 m</span>" in section
    assert "<span>7.2 m</span>" in section
    assert all(f"#{stop}" in text.partition(".metres {")[2].partition("}")[0] for stop in drawing.METRES)
    assert "Here are 12 of 24 attacked numbers" in section
    largest = [each for each in full if each.cell.eps != 4 / 255]
    assert "brittle show RUN" not in page(largest, galleries(largest))
    unknown = page(full, lambda _name: pictures(""))
    assert "damage 0 → 1" in unknown
    assert 'id="gallery"' not in page(full)


def test_the_strongest_attacks_have_pictures_first_and_the_rest_is_counted(
    full: list[Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only within the largest budget; as many as there is room for, the worst image of each row before all others."""
    by_id = {each.id: each for each in full}
    _, rows = layout.layout(full)
    main = answer.main_budget(full)
    strongest = {score.attacked.id for score in answer.scores(rows, main) if score.attacked}

    def shown(most: int) -> tuple[list[tuple[str, bool, int]], int, int]:
        monkeypatch.setattr(shots, "MOST", most + shots.LESS * len(full))
        numbers = Numbers()
        made = shots.cards(rows, main, galleries(full), numbers)
        names = [each["id"] for each in numbers.data()["numbers"]]
        return [(names[card.place], card.first, len(card.shots)) for card in made.cards], made.shown, made.total

    cards, count, total = shown(10**9)
    assert (count, total) == (12, 24)
    assert {name for name, first, _ in cards if first} == strongest
    assert all(by_id[name].cell.eps == 8 / 255 for name, _, _ in cards)
    assert [first for _, first, _ in cards] == [True] * 6 + [False] * 6
    sizes = [pictures(KINDS[row.task])[0].size for row in rows]
    cards, count, _ = shown(sum(sizes))
    assert ({name for name, _, _ in cards}, count) == (strongest, 6)
    assert {held for _, _, held in cards} == {1}
    assert "Here are 6 of 24 attacked numbers" in page(full, galleries(full))
    assert shown(sum(sizes) - 1)[1] == 5


def test_pictures_are_the_only_images_and_no_name_in_them_acts(full: list[Result]) -> None:
    plain = _Elements(page(full, galleries(full)))
    sources = [value for tag, name, value in plain.attributes if name == "src"]
    assert len(sources) == plain.names["img"] > 50
    assert all(re.fullmatch("data:image/webp;base64,[A-Za-z0-9+/=]+", value) for value in sources)
    assert all(value for tag, name, value in plain.attributes if name == "alt")
    (policy,) = [value for tag, _, value in plain.attributes if tag == "meta" and value.startswith("default-src")]
    assert "; img-src data:; " in policy
    for name in HOSTILE:
        found = _Elements(page(full, galleries(full, name)))
        assert found.names == plain.names, name[:40]
        kinds = Counter((tag, key) for tag, key, _ in found.attributes if key != "title")
        assert kinds == Counter((tag, key) for tag, key, _ in plain.attributes if key != "title"), name[:40]


# --- what may go wrong ------------------------------------------------------------------------------------------------


@pytest.mark.threat("html")
def test_hostile_names_change_nothing_but_text(full: list[Result]) -> None:
    """The same elements with the same attributes, each name shown as text; no character that acts."""

    def named(results: Sequence[Result], name: str) -> str:
        changed = [
            replace(
                each,
                cell=replace(each.cell, encoder=name, dataset=f"folder:{name}"),
                findings=[replace(finding, verdict="warn", why=name) for finding in each.findings],
                made_by={**each.made_by, "protocol": name, "data_licence": name, "weights": {"licence": name}},
            )
            for each in results
            if each.cell.encoder == "one"
        ]
        failed = [replace(changed[0], id="f" * 20, cell=replace(changed[0].cell, limit=7), failed=name)]
        return page([*changed, *failed])

    plain = _Elements(named(full, "harmless"))
    for name in HOSTILE:
        text = named(full, name)
        found = _Elements(text)
        assert found.names == plain.names, name[:40]
        kinds = Counter((tag, key) for tag, key, _ in found.attributes if key != "title")
        assert kinds == Counter((tag, key) for tag, key, _ in plain.attributes if key != "title"), name[:40]
        assert not set(text) & {"\x1b", "\x9b", "\u202e", "\u202c", "\ud800"}
        assert shortened(name, 44) in "".join(found.text), "it is shown as it is, and nothing in it is evaluated"
        text.encode()
    parts = [
        part for part in _Elements(named(full, "x" * 10_000)).text if not part.startswith(('{"words"', ":root", '"use'))
    ]
    assert max(map(len, parts)) < 2_000, "a long name does not fill the page"


@pytest.mark.threat("html")
def test_the_policy_lets_nothing_in_but_the_pages_own(full: list[Result]) -> None:
    text = page(full)
    elements = _Elements(text)
    (policy,) = [value for tag, name, value in elements.attributes if tag == "meta" and value.startswith("default-src")]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for kind in ("style", "script"):
        (inside,) = re.findall(f"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not [tag for tag in ("link", "img", "iframe", "object", "embed", "base", "video") if elements.names[tag]]
    assert not [
        each for each in elements.attributes if each[1] in ("src", "style", "srcset") or each[1].startswith("on")
    ]
    assert all(value.startswith("#") for _, name, value in elements.attributes if name == "href")
    assert "http" not in re.sub(r'http-equiv="', "", text), "no address at all"
    assert not re.search(r"@import|url\(", text)


def test_nothing_measured_is_said() -> None:
    text = page([])
    assert "nothing has been measured" in text
    assert "<table" not in text
    assert figures(text) == {}


@pytest.mark.fault("F30")
def test_a_run_that_is_half_finished_says_what_is_missing(full: list[Result]) -> None:
    gone = [each for each in full if not (each.cell.encoder == "two" and each.cell.attack == "pgd")]
    text = page(gone)
    assert "Not everything is measured: 3 rows lack numbers" in text
    missing = text.partition("<h3>Not measured</h3>")[2].partition("</ul>")[0]
    assert missing.count("<li>") == 3
    assert "classification / scenes / two: downstream 4/255, downstream 8/255" in missing
    assert "Not everything is measured" not in page(full)
    attacked = [each for each in full if each.cell.attack]
    assert "No clean score other than 0 stands beside an attacked one" in page(attacked)
    assert "Nothing has been attacked yet" in page([each for each in full if not each.cell.attack])


def test_failed_cells_and_findings_are_in_plain_words(full: list[Result]) -> None:
    bad = replace(full[1], failed="nonfinite: the model predicts nan", metrics={}, intervals={}, findings=())
    warned = replace(full[2], findings=(Finding("rounding", "warn", 0.1, "moved by .1"),))
    text = page([full[0], bad, warned, *full[3:]])
    assert "1 of 30 cells failed" in text
    below = text.partition("<h3>Failed cells</h3>")[2].partition("</ul>")[0]
    assert "one / scenes / classification / embed 4/255 linf" in below
    assert "nonfinite: the model predicts nan" in below
    finding = text.partition('<details class="finding warn"')[2].partition("</details>")[0]
    assert "rounding" in finding
    assert "report the rounded number" in finding
    assert "moved by .1" in finding
    every = page([replace(bad, id=f"{place:020x}") for place in range(3)])
    assert "Every cell failed" in every


def test_seeds_are_one_number_with_its_spread() -> None:
    some = [number(value, attack="pgd", seed=seed) for seed, value in ((0, 0.2), (1, 0.4))]
    text = page([number(0.8, seed=0), number(0.8, seed=1), *some])
    assert "0.300 ± 0.141" in text
    assert "to 0.300 ± 0.141 [0.250, 0.350] under pgd" in text


# --- size and the run -------------------------------------------------------------------------------------------------


def test_three_thousand_numbers_are_a_page_of_at_most_eight_megabytes(full: list[Result]) -> None:
    """200 attacked rows of 5 eps in 3 tasks, each number with the findings of fourteen checks."""
    draw = random.Random(2)
    names = components.names("checks")[:14]

    def findings() -> list[Finding]:
        return [
            Finding(
                name,
                "ok" if draw.random() < 0.95 else "warn",
                0.1,
                f"{draw.random():.9f} of the loss's rise came in "
                f"the last quarter of the steps, where {draw.random():.6f} is left",
            )  # fmt: skip
            for name in names
        ]

    some = [
        number(
            draw.random(),
            task,
            f"pgd(steps={steps})",
            encoder=f"timm:vit_small_patch14_dinov2.lvd142m(size={size})",
            eps=eps / 255,
            findings=findings(),
        )  # fmt: skip
        for size in range(20)
        for steps in range(10)
        for eps in (1, 2, 4, 8, 16)
        for task in TASKS
    ]
    assert len(some) == 3000
    large = [
        replace(each, drawings=dict.fromkeys(each.drawings, base64.b64encode(draw.randbytes(20_000)).decode()))
        for each in pictures("mask")
    ]
    behind = spreads(some, 1000)
    assert len(page(some).encode()) < len(page(some, lambda _name: large, behind).encode()) < 8e6
    assert len(page(some, spread=behind).encode()) - len(page(some).encode()) < 1e6, "with a thousand classes"
    assert 1e6 < len(page(full, lambda _name: large).encode()) < 3e6


def test_a_run_has_its_page_and_outlives_one_that_cannot_be_built(
    tmp_path: Path, full: list[Result], replaced: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    reporting.write(store, full)
    assert (tmp_path / "report" / "report.html").read_text("utf8") == page(full)

    def broken(*_arguments: object) -> str:
        raise ValueError("no\nluck")

    replaced("reports", "html", broken)
    reporting.write(store, full)
    said = capfd.readouterr().err
    assert said == "warning: no report/report.html: ValueError: no luck\n"
    assert not (tmp_path / "report" / "report.html").exists(), "no page of older numbers stays"


def test_the_same_results_give_the_same_page(full: list[Result]) -> None:
    assert page(full) == page(full)
