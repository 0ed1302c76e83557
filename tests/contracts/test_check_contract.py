"""Every check: a Finding with one of the four verdicts, the right one where a fault is planted."""

import math
from dataclasses import replace
from typing import get_args, get_type_hints

import numpy as np
import pytest
from tiny import CHECKS, headline, need

from brittle import spec
from brittle.plan import Cell, Finding, Result

VERDICTS = get_args(get_type_hints(Finding)["verdict"])


def result() -> Result:
    cell = Cell("embedded:random", "scenes", "classification", "pgd", 8 / 255, "linf", 0, None, "standard")
    task = {"name": "classification", "headline": "accuracy", "higher_is_better": True, "attack": "pgd"}
    return replace(Result("id", cell, task, images=4), **headline(0.5, 0.5))


@pytest.mark.parametrize("name", spec.names("checks"))
def test_planted_faults_are_found_and_sound_numbers_pass(name) -> None:
    cases = need(CHECKS, "checks", name)
    assert {verdict for verdict, *_ in cases} >= {"ok"}
    assert {verdict for verdict, *_ in cases} & {"warn", "fail"}, "plant a fault"
    for verdict, fields, violations in cases:
        found = spec.component("checks", name)(replace(result(), **fields), {"violation": np.array(violations)})
        assert isinstance(found, Finding)
        assert found.name == name
        assert found.verdict in VERDICTS
        assert found.verdict == verdict, f"{name} says {found.verdict} of {fields} {violations}"
        assert found.why
        assert found.value is None or isinstance(found.value, float)
        assert verdict != "ok" or found.value is None or math.isfinite(found.value)


def test_the_four_verdicts() -> None:
    assert set(VERDICTS) == {"ok", "warn", "fail", "unchecked"}
