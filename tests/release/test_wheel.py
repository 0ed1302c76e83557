"""What is published: the sdist has what its tests need, the wheel made from it each file of the package; it runs."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

import offline

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "brittle"


@pytest.fixture(scope="module")
def dist() -> Path:
    """The folder of both, built once for all processes of the suite."""
    made = Path(os.environ["BRITTLE_TESTS"]) / "dist"
    with FileLock(made.with_suffix(".lock")):
        if not made.exists():
            command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(made), str(ROOT)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture(scope="module")
def site(dist: Path) -> Path:
    """The wheel as pip lays it out, in a folder of its own."""
    made = dist.parent / "site"
    with FileLock(made.with_suffix(".lock")):
        if not made.exists():
            (wheel,) = dist.glob("*.whl")
            command = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--no-deps",
                "--no-index",
                "--target",
                str(made),
                str(wheel),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    return made


def below(folder: Path, root: Path) -> set[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(root).as_posix() for path in files}


def test_the_wheel_has_every_file_of_the_package_and_no_other(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    inside = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert inside == below(PACKAGE, PACKAGE.parent)
    assert {"brittle/py.typed", "brittle/assets/tested.txt", "brittle/assets/dino.safetensors"} <= inside
    assert any(name.endswith("licenses/LICENSE") for name in names - inside)


def test_the_sdist_has_what_its_tests_and_locks_need(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as opened:
        inside = {name.partition("/")[2] for name in opened.getnames()}
    folders = ("src", "tests", "docs", "recipes", "benchmarks", "release", ".github")
    needed = {name for folder in folders for name in below(ROOT / folder, ROOT)}
    needed |= {path.name for path in ROOT.iterdir() if path.suffix in (".md", ".lock", ".toml", ".yml", ".txt", ".cff")}
    assert needed | {"Makefile", "LICENSE"} <= inside


@pytest.mark.parametrize("words", [["--version"], ["list"], ["doctor"]])
def test_its_command_runs_from_the_wheel(site: Path, tmp_path: Path, words: list[str]) -> None:
    path = os.pathsep.join([str(site), str(Path(offline.__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": path}
    where = [sys.executable, "-c", "import brittle; print(brittle.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()).is_relative_to(site)
    command = [sys.executable, str(site / "bin" / "brittle"), *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
