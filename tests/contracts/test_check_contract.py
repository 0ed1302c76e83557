"""Every check: a Finding with one of the four verdicts, the right one where a fault is planted, and no error whatever
the images."""

import math
import typing

import pytest
from tiny import CHECKS, SCORED, evidence, need
from torch import Tensor

from brittle.checks.parts import evidence as evidences
from brittle.checks.parts.evidence import Evidence
from brittle.core import components
from brittle.core.records import Finding, Verdict
from brittle.core.traits import CheckTraits
from brittle.types import Batch

VERDICTS = typing.get_args(Verdict)
every_check = pytest.mark.parametrize("name", components.names("checks"))


def judge(found: object, name: str) -> Finding:
    assert isinstance(found, Finding)
    assert found.name == name
    assert found.verdict in VERDICTS
    assert found.why
    assert "\n" not in found.why
    assert found.value is None or isinstance(found.value, float)
    assert found.verdict != "ok" or found.value is None or math.isfinite(found.value)
    return found


@every_check
def test_planted_faults_are_found_and_sound_numbers_pass(name) -> None:
    cases = need(CHECKS, "checks", name)
    wanted = {verdict for verdict, _ in cases}
    assert wanted == {"unchecked"} or "ok" in wanted
    assert wanted == {"unchecked"} or wanted & {"warn", "fail"}, "plant a fault"
    for number, (verdict, make) in enumerate(cases):
        found = judge(components.component("checks", name).function(make()), name)
        assert found.verdict == verdict, f"case {number}: {found}"


@every_check
@pytest.mark.parametrize("task", SCORED)
def test_few_images_and_void_ones_are_no_error(name, task) -> None:
    for made in (
        evidence(task, count=1),
        evidence(task, eps=0.0),
        *(evidence(task, attack="noise", norm=norm, eps=0.5) for norm in ("l2", "l1")),
    ):
        assert judge(components.component("checks", name).function(made), name).verdict != "fail"
    if task != "classification":
        assert judge(components.component("checks", name).function(evidence(task, void=6)), name).verdict != "fail"


@every_check
def test_it_says_what_it_means_and_what_to_do(name) -> None:
    meaning, _, advice = components.summary("checks", name).partition(". ")
    assert meaning
    assert advice.endswith(".")


def test_a_check_that_stops_with_an_error_is_a_finding(replaced) -> None:
    def broken(_evidence: object) -> Finding:
        raise ValueError("expected more than 1 value\nper channel")

    replaced("checks", "noise", broken)
    found = {finding.name: finding for finding in evidences.findings(evidence())}
    assert found["noise"] == Finding("noise", "fail", None, "ValueError: expected more than 1 value per channel")
    assert found.keys() == set(components.names("checks"))


def test_costly_checks_only_look_where_that_is_wanted() -> None:
    costly = {
        name for name in components.names("checks") if components.component("checks", name).traits.evidence == "full"
    }
    assert costly == {"bfloat16", "blackbox", "monotone", "seeds", "steps"}
    assert {finding.name for finding in evidences.findings(evidence(full=False))} == set(
        components.names("checks")
    ) - costly


def test_the_four_verdicts() -> None:
    assert set(VERDICTS) == {"ok", "warn", "fail", "unchecked"}


@every_check
@pytest.mark.parametrize("attack", ["apgd(steps=4)", "embed(steps=4)", "noise"])
def test_what_it_tries_is_what_its_traits_say(name: str, attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forecast goes by it."""
    function, traits = components.component("checks", name)
    assert isinstance(traits, CheckTraits)
    made, tried = evidence(attack=attack, precision="bf16"), []
    real = Evidence.again

    def again(self: Evidence, batch: Batch, **changes: object) -> Tensor:
        tried.append((str(components.complete("attacks", str(changes.get("attack") or self.attack))), len(batch.ids)))
        return real(self, batch, **changes)  # type: ignore[arg-type]

    monkeypatch.setattr(Evidence, "again", again)
    function(made)
    said = [str(components.complete("attacks", text)) for text in traits.tries(str(made.attack))]
    assert [text for text, _ in tried] == said or not tried  # where an attack gives it nothing to try
    assert all(count == min(len(made.batch.ids), traits.on or count) for _, count in tried)
    assert tried or attack != "apgd(steps=4)" or not said
