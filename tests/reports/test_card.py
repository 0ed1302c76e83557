"""The section for a model card: the hub reads its metadata, it shows what was measured, and its command measures the
same cells."""

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from made_results import number, two_encoders

from brittle.core import components
from brittle.core.records import Finding, Result

Brittle = Callable[..., tuple[int, str, str]]
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "a | b\n---\nnew: key",
    "```\n# heading",
    "'\"{}: &x *y",
    "\x1b[31mred",
    "x" * 10_000,
)


def card(results: Sequence[Result]) -> str:
    return components.component("reports", "card").function(results)


def test_the_hub_reads_every_trusted_number_from_its_metadata() -> None:
    one = [each for each in two_encoders() if each.cell.encoder == "one"]
    bad = number(0.7, attack="noise", findings=[Finding("budget", "fail", 1.0, "too far")])
    data = ModelCard(card([*one, bad])).data
    assert data.model_name == "one"
    read = {(each.task_type, each.metric_name, each.metric_value) for each in data.eval_results or []}
    kinds = {
        "classification": "image-classification",
        "segmentation": "image-segmentation",
        "depth": "depth-estimation",
    }
    wanted: set[tuple[str, str, float]] = set()
    for each in one:
        cell, headline = each.cell, each.task["headline"]
        under = f"{cell.attack} {round((cell.eps or 0) * 255)}/255 linf" if cell.attack else "clean"
        wanted.add((kinds[cell.task], f"{headline} ({under})", round(each.metrics[headline], 6)))
    assert read == wanted
    assert "0.700 [0.650, 0.750] !" in card([*one, bad])
    assert "- fail: budget: one / scenes / classification / noise 16/255 linf: too far" in card([*one, bad])


def test_each_encoder_has_a_section_with_its_own_numbers() -> None:
    first, second = card(two_encoders()).partition("### one\n")[2].split("### two\n")
    for text, encoder in ((first, "one"), (second, "two")):
        for each in two_encoders():
            number_ = f"{each.metrics[each.task['headline']]:.3f} ["
            assert number_ in text or each.cell.encoder != encoder
        assert "under the strongest attack tried within linf 8/255" in text
        assert "classification: accuracy falls from 0.900" in text
        assert f"brittle run -e {encoder} -d scenes" in text


@pytest.mark.usefixtures("quick")
def test_the_command_measures_the_same_cells(tiny: str, tmp_path: Path, brittle: Brittle) -> None:
    folder = tmp_path / "run"
    what = ("-e", "pixels(size=8)", "-d", tiny, "-t", "classification,depth", "-a", "noise,downstream,pgd(steps=1)")
    small = ("--limit", 4, "--checks", "none", "-q", "--output-dir", folder)
    assert brittle("run", *what, "--eps", "4/255,8/255", "--seed", 1, *small)[0] == 0
    assert brittle("run", *what[:6], "-a", "noise", "--norm", "l2", "--eps", "0.5", *small)[0] == 0
    _, text, _ = brittle("report", folder, "--format", "card")
    lines = re.findall("^brittle run .*$", text, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        code, out, err = brittle(*shlex.split(line)[1:], "--checks", "none", "--output-dir", folder, "--dry-run")
        assert code == 0, err
        assert "to do" not in (out + err).replace(", 0 to do", ""), out + err


def test_no_name_is_markup_or_metadata() -> None:
    results = [number(0.5, encoder=name, dataset=name) for name in HOSTILE]
    results += [number(0.1, attack="pgd", encoder=name, dataset=name) for name in HOSTILE]
    results.append(number(0.5, failed="<b>why</b> | because\n\n# heading", encoder="plain"))
    text = card(results)
    head, body = re.fullmatch(r"---\n(.*?\n)---\n(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    data = yaml.safe_load(head)
    assert list(data) == ["model-index"]
    assert [entry["name"] for entry in data["model-index"]][:4] == list(HOSTILE[:4])
    outside = re.sub(r"^```sh\n.*?^```$", "", body, flags=re.DOTALL | re.MULTILINE)
    assert "<img" not in outside
    assert "<b>" not in outside
    assert "\x1b" not in text
    assert [line for line in outside.splitlines() if line.startswith("# ")] == []
    assert outside.count("```") == 0
    tables = [line for line in outside.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) in (5, 4, 3, 6) for line in tables)


def test_nothing_and_failures() -> None:
    assert "Nothing has been measured yet" in card([])
    failed = card([number(0.5, failed="nonfinite: nan")])
    assert "- failed: one / scenes / classification / clean: nonfinite: nan" in failed
    assert yaml.safe_load(failed.split("---\n")[1]) == {"model-index": [{"name": "one", "results": []}]}
