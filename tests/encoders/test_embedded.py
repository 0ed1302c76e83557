"""The encoders of the package by name and version."""

import json
import shutil
from pathlib import Path

import pytest

from brittle.core import components
from brittle.core.errors import UsageError
from brittle.encoders import embedded
from brittle.planning.identity import weights_of


def test_a_version_names_the_same_weights() -> None:
    assert weights_of("embedded:deacl@1") == weights_of("embedded:deacl")
    assert components.build("encoders", "embedded:deacl@1").about["source"] == "embedded:deacl@1"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("deacl@7", "no version '7' of deacl; the newest is 1"),
        ("decl@1", "did you mean 'deacl'"),
        ("random@1", "no embedded encoder 'random@1'"),
        ("@", "no embedded encoder '@'"),
    ],
)
def test_one_that_is_not_there_is_refused(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        components.build("encoders", f"embedded:{name}")


def test_weights_that_were_made_again_leave_the_old_ones_in_reach(tmp_path: Path, monkeypatch) -> None:
    assets = tmp_path / "assets"
    shutil.copytree(Path(embedded.__file__).parents[1] / "assets", assets)
    old = weights_of("embedded:deacl")
    for suffix in ("safetensors", "json"):
        shutil.move(assets / f"deacl.{suffix}", assets / f"deacl@1.{suffix}")
        shutil.copy(assets / f"dino.{suffix}", assets / f"deacl.{suffix}")
    card = json.loads((assets / "deacl.json").read_text())
    (assets / "deacl.json").write_text(json.dumps({**card, "version": 2}))
    monkeypatch.setattr(embedded, "resources", lambda _: tmp_path)
    assert embedded.fingerprint("deacl@1") == old
    assert embedded.fingerprint("deacl@2") == embedded.fingerprint("deacl") != old
