"""Lock what the tests ran with: ``.venv/bin/python release/lock.py`` writes ``requirements.lock`` (what brittle itself
needs), ``requirements-dev.lock`` (with all extras), both with the hashes of every file of each version, and
``tested.txt``, which ``brittle doctor`` compares with."""

import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from brittle.core.installed import NOT_FOR_USERS, TESTED

ROOT = Path(__file__).parents[1]
LOCKS = {"requirements.lock": [], "requirements-dev.lock": ["--all-extras"]}
COMMAND = [
    sys.executable,
    "-m",
    "uv",
    "pip",
    "compile",
    "pyproject.toml",
    "--quiet",
    "--universal",
    "--generate-hashes",
]
NOT_LOCKED = ("brittle", "pip", "setuptools")


def resolve(name: str, extras: list[str], installed: Path) -> None:
    """Write one lock, for every system and every Python from this one on. What is not installed here is the newest."""
    words = [
        "--python-version",
        platform.python_version(),
        "--custom-compile-command=make lock",
        "--no-annotate",
        "--upgrade",
    ]
    limits = ["-c", "constraints.txt", "-c", str(installed)]
    subprocess.run([*COMMAND, *words, *extras, *limits, "-o", name], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def locked(name: str) -> dict[str, str]:
    """The version of each package in a lock."""
    text = (ROOT / name).read_text(encoding="utf8")
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, flags=re.MULTILINE))


def named() -> set[str]:
    """The packages that pyproject.toml asks for, but for tools, and those that hold back others in constraints.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    extras = project["optional-dependencies"]
    tools = {canonicalize_name(Requirement(line).name) for extra in NOT_FOR_USERS for line in extras[extra]}
    lines = project["dependencies"] + [line for extra in extras if extra not in NOT_FOR_USERS for line in extras[extra]]
    asked = {canonicalize_name(Requirement(line).name) for line in lines}
    held = (ROOT / "constraints.txt").read_text(encoding="utf8").splitlines()
    return asked | ({canonicalize_name(Requirement(line).name) for line in held} - tools)


def main() -> None:
    """Write all three."""
    here = {canonicalize_name(each.name): each.version.partition("+")[0] for each in distributions()}
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as installed:
        installed.writelines(f"{name}=={here[name]}\n" for name in sorted(here) if name not in NOT_LOCKED)
        installed.flush()
        for name, extras in LOCKS.items():
            resolve(name, extras, Path(installed.name))
    versions = locked("requirements-dev.lock")
    TESTED.write_text("".join(f"{name}=={versions[name]}\n" for name in sorted(named())), encoding="utf8")


if __name__ == "__main__":
    main()
