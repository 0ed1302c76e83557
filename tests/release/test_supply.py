"""Where things come from: locks agree with what is asked for, workflows take nothing that can change under them, and no
message sends anybody to a name that is not ours."""

import re
import tomllib
from pathlib import Path
from typing import Any

import audit
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from brittle.core.installed import NOT_FOR_USERS, TESTED

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
LOCKS = {"requirements.lock": [], "requirements-dev.lock": list(PROJECT["optional-dependencies"])}
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SENT = re.compile(r"pip install [^\n`]*?(?<![\w/.-])brittle\b(?!/)")


def locked(lock: str) -> dict[str, list[str]]:
    """The hashes of each pinned package, by its ``name==version``."""
    text = (ROOT / lock).read_text(encoding="utf8").replace("\\\n", "")
    rows = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {re.split(r"\s", row)[0]: re.findall(r"--hash=(\S+)", row) for row in rows}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_package_and_hashes_every_file(lock: str) -> None:
    found = locked(lock)
    assert len(found) > 30
    for pin, hashes in found.items():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+", pin)
        assert hashes, pin
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in hashes), pin


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_what_the_project_asks_for(lock: str) -> None:
    """Fails where pyproject.toml or constraints.txt was changed; ``make lock`` mends it."""
    pinned = dict(pin.split("==") for pin in locked(lock))
    asked = [line for extra in LOCKS[lock] for line in PROJECT["optional-dependencies"][extra]]
    for line in [*PROJECT["dependencies"], *asked]:
        requirement = Requirement(line)
        if requirement.name != "brittle":
            assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), line
    for line in (ROOT / "constraints.txt").read_text(encoding="utf8").splitlines():
        name, version = line.split("==")
        assert pinned.get(name, version) == version


def test_both_locks_and_what_doctor_knows_agree() -> None:
    core, everything = locked("requirements.lock"), locked("requirements-dev.lock")
    assert core.items() <= everything.items()
    tested = TESTED.read_text(encoding="utf8").splitlines()
    assert set(tested) <= everything.keys()
    users = [
        line for extra, rows in PROJECT["optional-dependencies"].items() if extra not in NOT_FOR_USERS for line in rows
    ]
    names = {canonicalize_name(Requirement(line).name) for line in [*PROJECT["dependencies"], *users]}
    assert names <= {line.split("==")[0] for line in tested}


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_to_commits_that_say_their_version(workflow: Path) -> None:
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used
    written = re.findall(r"uses: ([\w./-]+@[0-9a-f]{40}) # v\d+\.\d+\.\d+$", workflow.read_text(encoding="utf8"), re.M)
    assert written == used


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_do_nothing_that_a_job_does_not_ask_for(workflow: Path) -> None:
    text = workflow.read_text(encoding="utf8")
    read = yaml.safe_load(text)
    assert read["permissions"] == {}
    assert "secrets." not in text
    for step in steps(workflow):
        install = [line for line in step.get("run", "").splitlines() if "pip install" in line]
        assert all("--require-hashes" in line or "--no-index" in line for line in install)


def test_only_what_was_tried_is_published_and_only_a_tag() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf8"))["jobs"]
    publish = jobs["publish"]
    assert set(publish["needs"]) == {"test", "smoke"}
    assert publish["if"] == "github.ref_type == 'tag'"
    assert publish["permissions"] == {"id-token": "write"}
    assert [name for name, job in jobs.items() if "id-token" in job["permissions"]] == ["publish"]
    assert not any("build" in step.get("run", "") for step in publish["steps"])


PLACES = [*ROOT.glob("*.md"), *(path for name in ("src", "docs", "recipes") for path in (ROOT / name).rglob("*"))]


def test_no_message_sends_anybody_to_a_name_that_is_not_ours() -> None:
    """Until brittle is published, whoever takes its name on the package index would be installed."""
    texts = {
        path: path.read_text(encoding="utf8") for path in PLACES if path.suffix in (".md", ".py", ".ipynb", ".html")
    }
    assert len(texts) > 200
    assert {path: SENT.findall(text) for path, text in texts.items() if SENT.search(text)} == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pip install brittle", True),
        ("pip install 'brittle[hf]'", True),
        ("pip install --upgrade brittle", True),
        ("pip install -c constraints.txt '.[hf]'", False),
        ("pip install dist/brittle-0.1.0-py3-none-any.whl", False),
        ("pip install -e . # `brittle`", False),
    ],
)
def test_the_search_finds_such_a_message(text: str, found: bool) -> None:
    assert bool(SENT.search(text)) is found


VULNERABLE = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
SOUND, PASSED_OVER = {"name": "b", "version": "1", "vulns": []}, {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "usual", "strict", "said"),
    [
        ([SOUND], 0, 0, "1 packages audited, 0 known"),
        ([SOUND, VULNERABLE], 1, 1, "a 1: CVE-1, mended in 2"),
        ([SOUND, PASSED_OVER], 0, 1, "NOT AUDITED: c"),
        ([PASSED_OVER], 0, 1, "NOT AUDITED: the advisory service was not reached"),
        ([], 0, 1, "NOT AUDITED: the advisory service was not reached"),
    ],
)
def test_an_audit_that_did_not_happen_is_never_called_clean(
    packages: list[dict[str, Any]], usual: int, strict: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (audit.judge(packages, strict=False), audit.judge(packages, strict=True)) == (usual, strict)
    assert said in capsys.readouterr().out
